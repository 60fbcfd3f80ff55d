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
    known: { type: "string", default: "1000", description: "Images whose labels are known, of students that learn from few labels", valueHint: "N" },
    out: { type: "string", default: page, description: "The page on which the results are recorded", valueHint: "FILE" },
    device: { type: "string", default: "wasm", description: "Where to compute" },
  },
  async run({ args }) {
    const count = (name: "epochs" | "rounds" | "seeds" | "known"): number => number(name, args[name], 1)!
    const [epochs, rounds, seeds, known, temperature] = [count("epochs"), count("rounds"), count("seeds"), count("known"), Number(args.temperature)]
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
    /** Students of which one learns from the labels of a few images, of other ones for each seed, and one from what the first makes of all images. */
    const ofFew = async (seed: number, begin: Network<Layers>, again: Network<Layers>) => {
      const first = (seed * known) % (training.labels.length - known + 1)
      const few = examples({ inputs: training.images.subarray(first * places, (first + known) * places), shape: [places], labels: training.labels.subarray(first, first + known) }, { batch, seed })
      const parent = await done(begin, fit({ model: begin, loss: labels(), data: few, ...learning(rounds, 0.003) }))
      return { parent, child: await done(again, distill({ teacher: parent.network, student: again, loss: softTargets({ temperature: 1 }), data: images(seed), ...learning(rounds, 0.003) })) }
    }
    try {
      const first = await convolutional(0), teacher = await done(first, fit({ model: first, loss: labels(), data: warped(images(0), { seed: 0 }), ...learning(epochs, 0.002) }))
      const hidden = Math.floor((sizeOf(first) / 10 - 10) / (places + 11)), start = (n: number): Promise<Network<Layers>> => plain(hidden, n)
      let results: DigitResults = { images: training.labels.length, tested: test.labels.length, epochs, rounds, temperature, hidden, teacher: { size: sizeOf(first), percent: teacher.scored.percent }, student: sizeOf(await start(0)), known, labels: [], taught: [], bornAgain: [], fewLabels: [], fewBornAgain: [] }
      console.log(`teacher, ${results.teacher.size.toLocaleString("en")} parameters: ${teacher.scored.percent.toFixed(2)} %`)
      for (let seed = 0; seed < seeds; seed++) {
        const begin = await start(seed), alone = await done(begin, fit({ model: begin, loss: labels(), data: repeat(images(seed), perRound), ...learning(rounds, 0.003) }))
        const student = await taught(teacher.network, begin, seed, { temperature }), child = await taught(alone.network, await start(1000 + seed), seed, { temperature: 1, hard: 0.5 })
        const few = await ofFew(seed, begin, await start(1000 + seed))
        results = { ...results, labels: [...results.labels, alone.scored], taught: [...results.taught, student.scored], bornAgain: [...results.bornAgain, child.scored], fewLabels: [...results.fewLabels, few.parent.scored], fewBornAgain: [...results.fewBornAgain, few.child.scored] }
        console.log(`seed ${seed}: labels ${alone.scored.percent.toFixed(2)} %, taught ${student.scored.percent.toFixed(2)} %, born again ${child.scored.percent.toFixed(2)} %; ${known} labels: ${few.parent.scored.percent.toFixed(2)} %, born again ${few.child.scored.percent.toFixed(2)} %`)
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
