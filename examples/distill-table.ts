// Distils students of the demo model in every way, each for equal time, over several seeds, and writes a table.
import { readFile, writeFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { tensorsOf } from "@thimble/core"
import { open } from "@thimble/kernels"
import { defineCommand, runMain } from "citty"
import { number } from "./demo/number.ts"
import { progress } from "./demo/progress.ts"
import { material } from "./distill/material.ts"
import { students } from "./distill/students.ts"
import { tablePage, type MeasuredStudent, type TableOf } from "./distill/table-page.ts"

const command = defineCommand({
  meta: { name: "distill-table", description: "Measures what every way of distillation gives on the demo model, at equal time." },
  args: {
    model: { type: "string", default: fileURLToPath(new URL("../models/demo", import.meta.url)), description: "Directory, or GGUF file, of the teacher", valueHint: "PATH" },
    seconds: { type: "string", default: "300", description: "Time to train each student", valueHint: "N" },
    seeds: { type: "string", default: "3", description: "Seeds of weights and data", valueHint: "N" },
    batch: { type: "string", default: "8", description: "Windows per step", valueHint: "N" },
    length: { type: "string", default: "128", description: "Tokens of a window", valueHint: "N" },
    tokens: { type: "string", default: "8000", description: "Held-out tokens that are scored", valueHint: "N" },
    missing: { type: "boolean", default: false, description: "Only students, and seeds of them, that the page does not have yet" },
    only: { type: "string", description: "Only students whose name has this in it", valueHint: "TEXT" },
    out: { type: "string", default: fileURLToPath(new URL("../docs/distillation-table.md", import.meta.url)), description: "The page, whose rows are kept where they are not measured again", valueHint: "FILE" },
    device: { type: "string", default: "wasm", description: "Where to compute" },
  },
  async run({ args }) {
    const count = (name: "seconds" | "seeds" | "batch" | "length" | "tokens"): number => number(name, args[name], 1)!
    const [seconds, seeds, batch, length, scored] = [count("seconds"), count("seeds"), count("batch"), count("length"), count("tokens")]
    const device = await open(args.device), control = new AbortController(), { signal } = control
    process.once("SIGINT", () => control.abort())
    const { model: teacher, text, begin, tokenizer, heldOut, measure } = await material(args.model, scored)
    const json = args.out.replace(/\.md$/, ".json"), old = await readFile(json, "utf8").then((t) => JSON.parse(t) as TableOf, () => undefined)
    if (old !== undefined && (args.missing || args.only !== undefined) && (old.seconds !== seconds || old.tokens !== scored)) throw new RangeError(`${json} is of ${old.seconds} seconds and ${old.tokens} tokens: its rows cannot stand beside others`)
    const known = new Map((args.missing || args.only !== undefined ? old?.rows ?? [] : []).map((r) => [r.name, r]))
    const unigram = frequencies(text, tokenizer.encode(heldOut).slice(0, scored), tokenizer.size), own = Math.log((await measure(teacher)).perplexity)
    const wanted = students.filter(({ name }) => args.only === undefined || name.includes(args.only))
    const first = (name: string): number => (args.missing ? known.get(name)?.divergences.length ?? 0 : 0)
    const bar = progress("{bar} {value}/{total} · {name}", wanted.reduce((n, s) => n + Math.max(0, seeds - first(s.name)), 0), { name: "" })
    try {
      for (const { group, name, make } of wanted) {
        let row: MeasuredStudent = (args.missing ? known.get(name) : undefined) ?? { group, name, size: 0, perplexities: [], divergences: [], steps: [], kept: [] }
        for (let seed = first(name); seed < seeds; seed++) {
          bar.next({ name: `${name}, seed ${seed}` })
          const { model, steps } = await make({ teacher, text, begin, seed, seconds, batch, length, signal }), { perplexity, divergence } = await measure(model)
          row = { ...row, size: model.size, perplexities: [...row.perplexities, perplexity], divergences: [...row.divergences, divergence], steps: [...row.steps, steps], kept: [...row.kept, (unigram - Math.log(perplexity)) / (unigram - own)] }
          const kept = new Set(tensorsOf(teacher))
          for (const t of tensorsOf(model)) if (!kept.has(t)) t.dispose()
          known.set(name, row)
          // Rows in the order of the list, whenever they were measured.
          const table: TableOf = { seconds, tokens: scored, teacher: { size: teacher.size, perplexity: Math.exp(own) }, unigram: Math.exp(unigram), rows: students.map((s) => known.get(s.name)).filter((r) => r !== undefined) }
          await writeFile(json, `${JSON.stringify(table, undefined, 1)}\n`)
          await writeFile(args.out, tablePage(table))
        }
      }
    } finally {
      bar.stop()
      await device.close()
    }
  },
})

/** Cross entropy of tokens by their frequencies in a text, each counted once more, in nats. */
function frequencies(text: Int32Array, scored: readonly number[], size: number): number {
  const counts = new Float64Array(size).fill(1)
  for (const id of text) counts[id] = counts[id]! + 1
  return -scored.reduce((n, id) => n + Math.log(counts[id]! / (text.length + size)), 0) / scored.length
}

await runMain(command)
