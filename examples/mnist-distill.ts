// A convolutional network learns handwritten digits, and teaches a plain one a tenth its size.
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { adamW, tensorsOf } from "@thimble/core"
import { cachedTeacher, distill, examples, fit, labels, repeat, softTargets, storeAnswers, topK, type Network, type Run } from "@thimble/distill"
import { open } from "@thimble/kernels"
import { defineCommand, runMain } from "citty"
import { number } from "./demo/number.ts"
import { page, printChecks, record } from "./distill/record.ts"
import { digits, places, score, type Scored } from "./mnist/digits.ts"
import { convolutional, plain, type Layers } from "./mnist/networks.ts"
import { noisy } from "./mnist/noisy.ts"
import { digitChecks, digitPage, type DigitResults } from "./mnist/page.ts"
import { warped } from "./mnist/warped.ts"

const sizeOf = (n: Network<Layers>): number => tensorsOf(n.parameters).reduce((a, t) => a + t.size, 0)

const command = defineCommand({
  meta: { name: "mnist-distill", description: "Distils a convolutional network that reads digits into a plain one a tenth its size." },
  args: {
    data: { type: "string", required: true, description: "Folder of the IDX files: NAME-images-idx3-ubyte.gz and NAME-labels-idx1-ubyte.gz", valueHint: "PATH" },
    train: { type: "string", default: "train10k", description: "Name of the files to train on", valueHint: "NAME" },
    test: { type: "string", default: "t10k", description: "Name of the files to test on", valueHint: "NAME" },
    epochs: { type: "string", default: "10", description: "Times that the teacher sees every image, each time warped otherwise", valueHint: "N" },
    rounds: { type: "string", default: "40", description: "Times that a student does, as it is", valueHint: "N" },
    seeds: { type: "string", default: "5", description: "Students of each kind", valueHint: "N" },
    temperature: { type: "string", default: "4", description: "Temperature of soft targets", valueHint: "T" },
    noise: { type: "string", default: "0.3", description: "Deviation of the noise in images of noisy students", valueHint: "X" },
    out: { type: "string", default: page, description: "The page on which the results are recorded", valueHint: "FILE" },
    device: { type: "string", default: "wasm", description: "Where to compute" },
  },
  async run({ args }) {
    const count = (name: "epochs" | "rounds" | "seeds"): number => number(name, args[name], 1)!
    const [epochs, rounds, seeds, temperature] = [count("epochs"), count("rounds"), count("seeds"), Number(args.temperature)], deviation = Number(args.noise)
    const device = await open(args.device, { threads: 1 }), [training, test] = [await digits(args.data, args.train), await digits(args.data, args.test)]
    const batch = 50, perRound = Math.floor(training.labels.length / batch), folder = await mkdtemp(join(tmpdir(), "thimble-digits-"))
    const images = (seed: number) => examples({ inputs: training.images, shape: [places], labels: training.labels }, { batch, seed })
    const learning = (times: number, rate: number) => ({ optimizer: adamW({ rate, weightDecay: 0.01 }), steps: times * perRound, rate: (step: number) => rate * 0.5 * (1 + Math.cos((Math.PI * step) / (times * perRound))) })
    const done = async (start: Network<Layers>, run: Run<Layers>): Promise<{ readonly scored: Scored; readonly network: Network<Layers> }> => {
      const { model } = await run.finish()
      return { scored: await score(start, model, test), network: { ...start, parameters: model } }
    }
    /** A student of the teacher's stored answers to every image. */
    const taught = async (teacher: Network<Layers>, student: Network<Layers>, seed: number, how: { readonly temperature: number; readonly hard?: number }) => {
      const data = repeat(images(seed), perRound)
      // Awaited here: the answers are closed when this is left.
      await storeAnswers(teacher, { folder, data, batches: perRound, top: 10 })
      await using answers = await cachedTeacher(folder, { of: teacher })
      return await done(student, distill({ teacher: answers, student, loss: softTargets({ ...how, restrict: topK(10) }), data, ...learning(rounds, 0.003) }))
    }
    /** A student of noisy images: of labels, and what a parent says of the images without noise, half and half; or of labels alone. */
    const disturbed = async (student: Network<Layers>, seed: number, parent?: Network<Layers>) => {
      const how = { data: noisy(repeat(images(seed), perRound), { seed, deviation, ...(parent && { teacher: parent }) }), ...learning(rounds, 0.003) }
      return done(student, parent === undefined ? fit({ model: student, loss: labels(), ...how }) : distill({ teacher: parent, student, loss: softTargets({ temperature: 1, hard: 0.5, restrict: topK(10) }), ...how }))
    }
    try {
      const first = await convolutional(0), teacher = await done(first, fit({ model: first, loss: labels(), data: warped(images(0), { seed: 0 }), ...learning(epochs, 0.002) }))
      const hidden = Math.floor((sizeOf(first) / 10 - 10) / (places + 11)), start = (n: number): Promise<Network<Layers>> => plain(hidden, n)
      let results: DigitResults = { images: training.labels.length, tested: test.labels.length, epochs, rounds, temperature, hidden, teacher: { size: sizeOf(first), percent: teacher.scored.percent }, student: sizeOf(await start(0)), deviation, labels: [], taught: [], bornAgain: [], noisyLabels: [], noisyBornAgain: [] }
      console.log(`teacher, ${results.teacher.size.toLocaleString("en")} parameters: ${teacher.scored.percent.toFixed(2)} %`)
      for (let seed = 0; seed < seeds; seed++) {
        const begin = await start(seed), alone = await done(begin, fit({ model: begin, loss: labels(), data: repeat(images(seed), perRound), ...learning(rounds, 0.003) }))
        const student = await taught(teacher.network, begin, seed, { temperature }), child = await taught(alone.network, await start(1000 + seed), seed, { temperature: 1, hard: 0.5 })
        const control = await disturbed(await start(2000 + seed), seed), disturbedChild = await disturbed(await start(1000 + seed), seed, alone.network)
        results = { ...results, labels: [...results.labels, alone.scored], taught: [...results.taught, student.scored], bornAgain: [...results.bornAgain, child.scored], noisyLabels: [...results.noisyLabels, control.scored], noisyBornAgain: [...results.noisyBornAgain, disturbedChild.scored] }
        console.log(`seed ${seed}: labels ${alone.scored.percent.toFixed(2)} %, taught ${student.scored.percent.toFixed(2)} %, born again ${child.scored.percent.toFixed(2)} %; noisy: labels ${control.scored.percent.toFixed(2)} %, born again ${disturbedChild.scored.percent.toFixed(2)} %`)
        await record(args.out, "digits", results, digitPage(results))
      }
      printChecks(digitChecks(results))
    } finally {
      await rm(folder, { recursive: true })
      await device.close()
    }
  },
})

await runMain(command)
