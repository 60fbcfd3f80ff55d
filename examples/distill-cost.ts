// What distillation costs beside ordinary training: bytes of stored answers, time of a step with them, memory of a step with a large vocabulary.
import { spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { adamW } from "@thimble/core"
import { cachedTeacher, chunked, distill, dropLayers, everySecond, fit, labels, repeat, softTargets, storeAnswers, topK, windows, type Run } from "@thimble/distill"
import { open } from "@thimble/kernels"
import { loadModel, type Model } from "@thimble/models"
import { defineCommand, runMain } from "citty"
import { number } from "./demo/number.ts"
import { costChecks, costPage, type Costs } from "./distill/cost-page.ts"
import { processorSeconds } from "./distill/processor-time.ts"
import { page, printChecks, record } from "./distill/record.ts"
import { scratch } from "./distill/students.ts"
import { prose, tokens } from "./train/text.ts"

/** A Llama with the vocabulary that the claim is about; teacher and student differ in depth. */
const large = (teacher: Model, layers: number, vocabulary: number): Promise<Model> => scratch({ ...teacher.config, layers, vocabulary }, layers, {})
const median = (x: readonly number[]): number => x.toSorted((a, b) => a - b)[x.length >> 1]!

/** Bytes per token, and processor time of the steps of both kinds, which take turns. */
async function answers(teacher: Model, text: Int32Array, begin: number, { batch, length, steps, top }: { readonly batch: number; readonly length: number; readonly steps: number; readonly top: number }): Promise<Omit<Costs, "memory">> {
  const folder = await mkdtemp(join(tmpdir(), "thimble-answers-")), batches = 8, data = repeat(windows(text, { batch, length, begin }), batches)
  try {
    const { bytes, positions } = await storeAnswers(teacher, { folder, data, batches, top })
    await using stored = await cachedTeacher(folder, { of: teacher })
    const student = dropLayers(teacher, everySecond), how = { data, optimizer: adamW({ rate: 1e-4 }), steps: steps + 3 }
    const runs: Record<"labels" | "answers", Run<Model>> = { labels: fit({ model: student, loss: labels(), ...how }), answers: distill({ teacher: stored, student, loss: softTargets({ hard: 0.1, restrict: topK(top) }), ...how }) }
    const seconds: Record<"labels" | "answers", number[]> = { labels: [], answers: [] }
    for (let i = 0; i < steps + 3; i++)
      for (const name of ["labels", "answers"] as const) {
        const begun = processorSeconds()
        await runs[name].next()
        // The first steps compile.
        if (i >= 3) seconds[name].push(processorSeconds() - begun)
      }
    return { top, classes: teacher.config.vocabulary, batch, length, bytesPerToken: bytes / positions, stepSeconds: { labels: median(seconds.labels), answers: median(seconds.answers) } }
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** Megabytes by which this process grows at most, from making the models to the end of some steps; Linux tells. */
async function grown(model: string, kind: string, vocabulary: number): Promise<number> {
  const field = (name: string): number => Number(new RegExp(`${name}:\\s*(\\d+)`).exec(readFileSync("/proc/self/status", "utf8"))![1]) / 1024
  const device = await open("wasm", { threads: 1 }), demo = await loadModel(model), before = field("VmRSS")
  writeFileSync("/proc/self/clear_refs", "5")
  const student = await large(demo, 2, vocabulary), teacher = kind.startsWith("labels") ? undefined : await large(demo, 4, vocabulary)
  const text = Int32Array.from({ length: 20_000 }, (_, i) => (i * 7919) % vocabulary), how = { data: windows(text, { batch: 8, length: 256 }), optimizer: adamW({ rate: 1e-4 }), steps: 2 }
  const whole = kind.endsWith("whole"), loss = softTargets({ hard: 0.5 })
  await (teacher === undefined ? fit({ model: student, loss: whole ? labels() : chunked(labels()), ...how }) : distill({ teacher, student, loss: whole ? loss : chunked(loss), ...how })).finish()
  const most = field("VmHWM") - before
  await device.close()
  return most
}

const command = defineCommand({
  meta: { name: "distill-cost", description: "Measures what distillation costs beside training on labels only." },
  args: {
    model: { type: "string", default: fileURLToPath(new URL("../models/demo", import.meta.url)), description: "Directory, or GGUF file, of the teacher", valueHint: "PATH" },
    top: { type: "string", default: "64", description: "Classes per token that are stored", valueHint: "N" },
    steps: { type: "string", default: "30", description: "Steps of each kind that are timed", valueHint: "N" },
    vocabulary: { type: "string", default: "32000", description: "Tokens of the vocabulary whose memory is measured", valueHint: "N" },
    memory: { type: "string", description: "Used by the command itself: measures one kind in this process, and prints it", valueHint: "KIND" },
    out: { type: "string", default: page, description: "The page on which the results are recorded", valueHint: "FILE" },
  },
  async run({ args }) {
    const count = (name: "top" | "steps" | "vocabulary"): number => number(name, args[name], 1)!, vocabulary = count("vocabulary")
    if (args.memory !== undefined) return console.log(`megabytes ${await grown(args.model, args.memory, vocabulary)}`)
    const grownIn = (kind: string): number => {
      // A process of its own: memory that was grown once is not given back.
      const { stdout, stderr } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), "--model", args.model, "--memory", kind, "--vocabulary", args.vocabulary], { encoding: "utf8" })
      return Number(/megabytes ([\d.]+)/.exec(stdout)?.[1] ?? (() => { throw new Error(`${kind} was not measured: ${stderr}`) })())
    }
    const memory = { vocabulary, batch: 8, length: 256, labels: grownIn("labels whole"), labelsChunked: grownIn("labels"), distilled: grownIn("distilled"), distilledWhole: grownIn("distilled whole") }
    const device = await open("wasm", { threads: 1 }), teacher = await loadModel(args.model), { tokenizer } = teacher
    if (tokenizer?.eos === undefined) throw new RangeError("the model has no tokenizer, or no token that ends texts")
    const costs: Costs = { ...await answers(teacher, tokens((await prose()).training, tokenizer, tokenizer.eos), tokenizer.eos, { batch: 8, length: 128, steps: count("steps"), top: count("top") }), memory }
    await record(args.out, "cost", costs, costPage(costs))
    printChecks(costChecks(costs))
    await device.close()
  },
})

await runMain(command)
