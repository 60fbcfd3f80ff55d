// Distils students of the demo model in every way, each for equal time, over several seeds, and records a table.
import { fileURLToPath } from "node:url"
import { tensorsOf } from "@thimble/core"
import { open } from "@thimble/kernels"
import { defineCommand, runMain } from "citty"
import { number } from "./demo/number.ts"
import { progress } from "./demo/progress.ts"
import { material } from "./distill/material.ts"
import { page, printChecks, record, recorded } from "./distill/record.ts"
import { students, type Student } from "./distill/students.ts"
import { tableChecks, tablePage, type MeasuredStudent, type TableOf } from "./distill/table-page.ts"

const command = defineCommand({
  meta: { name: "distill-table", description: "Measures what every way of distillation gives on the demo model, at equal time." },
  args: {
    model: { type: "string", default: fileURLToPath(new URL("../models/demo", import.meta.url)), description: "Directory, or GGUF file, of the teacher", valueHint: "PATH" },
    seconds: { type: "string", default: "20", description: "Processor time to train each student", valueHint: "N" },
    seeds: { type: "string", default: "3", description: "Seeds of weights and data", valueHint: "N" },
    batch: { type: "string", default: "4", description: "Windows per step", valueHint: "N" },
    length: { type: "string", default: "128", description: "Tokens of a window", valueHint: "N" },
    tokens: { type: "string", default: "8000", description: "Held-out tokens that are scored", valueHint: "N" },
    missing: { type: "boolean", default: false, description: "Only students, and seeds of them, that the page does not have yet" },
    only: { type: "string", description: "Only students whose name matches this regular expression", valueHint: "REGEX" },
    long: { type: "boolean", default: true, negativeDescription: "Without students that learn for longer than the others" },
    out: { type: "string", default: page, description: "The page, whose rows are kept where they are not measured again", valueHint: "FILE" },
    device: { type: "string", default: "wasm", description: "Where to compute" },
  },
  async run({ args }) {
    const count = (name: "seconds" | "seeds" | "batch" | "length" | "tokens"): number => number(name, args[name], 1)!
    const [seconds, seeds, batch, length, scored] = [count("seconds"), count("seeds"), count("batch"), count("length"), count("tokens")]
    const part = args.missing || args.only !== undefined || !args.long
    const device = await open(args.device, { threads: 1 }), control = new AbortController(), { signal } = control
    process.once("SIGINT", () => control.abort())
    const { model: teacher, text, begin, tokenizer, heldOut, measure } = await material(args.model, scored), old = part ? await recorded<TableOf>(args.out, "table") : undefined
    const settings = { seconds, tokens: scored, batch, length }
    for (const [name, value] of Object.entries(settings)) if (old !== undefined && old[name as keyof typeof settings] !== value) throw new RangeError(`the rows that are there were made with ${old[name as keyof typeof settings]} ${name}, and ${value} cannot stand beside them`)
    const known = new Map((old?.rows ?? []).map((r) => [r.name, r]))
    const unigram = frequencies(text, heldOut.map((t) => tokenizer.encode(t).slice(0, Math.ceil(scored / heldOut.length))), tokenizer.size), own = Math.log((await measure(teacher)).perplexity)
    const wanted = students.filter(({ name, times = 1 }) => (args.only === undefined || new RegExp(args.only).test(name)) && (args.long || times === 1))
    const had = (name: string): number => (args.missing ? known.get(name)?.divergences.length ?? 0 : 0)
    // One seed of all students after the other, so that whatever was interrupted is a table.
    const todo = Array.from({ length: seeds }, (_, seed) => wanted.filter(({ name }) => seed >= had(name)).map((student): readonly [Student, number] => [student, seed])).flat()
    const bar = progress("{bar} {value}/{total} · {name}", todo.length, { name: "" })
    let table: TableOf | undefined
    try {
      for (const [{ group, name, times = 1, make }, seed] of todo) {
        bar.next({ name: `${name}, seed ${seed}` })
        const before: MeasuredStudent = (seed > 0 ? known.get(name) : undefined) ?? { group, name, size: 0, perplexities: [], divergences: [], steps: [], kept: [] }
        const { model, steps } = await make({ teacher, text, begin, seed, seconds: seconds * times, batch, length, signal }), { perplexity, divergence } = await measure(model)
        const row = { ...before, size: model.size, perplexities: [...before.perplexities, perplexity], divergences: [...before.divergences, divergence], steps: [...before.steps, steps], kept: [...before.kept, (unigram - Math.log(perplexity)) / (unigram - own)] }
        const kept = new Set(tensorsOf(teacher))
        for (const t of tensorsOf(model)) if (!kept.has(t)) t.dispose()
        known.set(name, row)
        // Rows in the order of the list, whenever they were measured.
        table = { ...settings, teacher: { size: teacher.size, perplexity: Math.exp(own) }, unigram: Math.exp(unigram), rows: students.map((s) => known.get(s.name)).filter((r) => r !== undefined) }
        await record(args.out, "table", table, tablePage(table))
      }
    } finally {
      bar.stop()
      await device.close()
    }
    if (table !== undefined) printChecks(tableChecks(table))
  },
})

/** Cross entropy of tokens by their frequencies in a text, each counted once more, in nats: the mean over parts of equal weight. */
function frequencies(text: Int32Array, parts: readonly (readonly number[])[], size: number): number {
  const counts = new Float64Array(size).fill(1)
  for (const id of text) counts[id] = counts[id]! + 1
  const lossOf = (scored: readonly number[]): number => -scored.reduce((n, id) => n + Math.log(counts[id]! / (text.length + size)), 0) / scored.length
  return parts.reduce((n, scored) => n + lossOf(scored), 0) / parts.length
}

await runMain(command)
