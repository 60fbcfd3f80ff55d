// Prunes the demo model by every score and pattern, over several seeds, and writes a table of what each costs, saves and speeds up.
import { readFile, writeFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { calibration, type Calibration } from "@thimble/compress"
import { open } from "@thimble/kernels"
import { loadModel } from "@thimble/models"
import { defineCommand, runMain } from "citty"
import { number } from "./demo/number.ts"
import { progress } from "./demo/progress.ts"
import { claims } from "./prune/claims.ts"
import { measured, type Bench } from "./prune/measured.ts"
import { page, type PruneRow, type PruneTable } from "./prune/page.ts"
import { rows } from "./prune/rows.ts"
import { speedOf } from "./prune/speeds.ts"
import { joined, ofSource, prose, tokens } from "./train/text.ts"

const command = defineCommand({
  meta: { name: "prune-table", description: "Measures what every score and pattern of pruning costs on the demo model." },
  args: {
    model: { type: "string", default: fileURLToPath(new URL("../models/demo", import.meta.url)), description: "Directory, or GGUF file, of the model", valueHint: "PATH" },
    seeds: { type: "string", default: "3", description: "Seeds of calibration data, random scores and training", valueHint: "N" },
    tokens: { type: "string", default: "8000", description: "Held-out tokens that are scored", valueHint: "N" },
    seconds: { type: "string", default: "300", description: "Processor time to train what is left", valueHint: "N" },
    speeds: { type: "boolean", default: false, description: "Measures how fast rows decode instead, which wants a machine that does nothing else" },
    rounds: { type: "string", default: "9", description: "Texts that are decoded of each row for its speed", valueHint: "N" },
    missing: { type: "boolean", default: false, description: "Only rows, and seeds of them, that the page does not have yet" },
    only: { type: "string", description: "Only rows whose name or group has this in it", valueHint: "TEXT" },
    out: { type: "string", default: fileURLToPath(new URL("../docs/pruning.md", import.meta.url)), description: "The page, whose rows are kept where they are not measured again", valueHint: "FILE" },
    threads: { type: "string", default: "1", description: "Threads that compute", valueHint: "N" },
  },
  async run({ args }) {
    const count = (name: "seeds" | "tokens" | "seconds" | "rounds" | "threads"): number => number(name, args[name], 1)!
    const device = await open("wasm", { threads: count("threads") }), control = new AbortController()
    process.once("SIGINT", () => control.abort())
    const model = await loadModel(args.model), texts = await prose(), { tokenizer } = model
    if (tokenizer?.eos === undefined) throw new RangeError("the model has no tokenizer, or no token that ends texts")
    // Enough text to draw sequences from.
    const some = joined(texts.training).slice(0, 2_000_000), drawn = new Map<number, Promise<Calibration>>(), [scored, seconds, rounds] = [count("tokens"), count("seconds"), count("rounds")]
    const bench: Bench = {
      model, text: tokens(texts.training, tokenizer, tokenizer.eos), begin: tokenizer.eos, heldOut: joined(ofSource(texts.heldOut, "Moby Dick")), tokens: scored, seconds, signal: control.signal,
      calibration: (seed) => drawn.get(seed) ?? drawn.set(seed, calibration(tokenizer, some, { samples: 32, length: 256, seed })).get(seed)!,
    }
    const json = args.out.replace(/\.md$/, ".json"), old = await readFile(json, "utf8").then((t) => JSON.parse(t) as PruneTable, () => undefined)
    const partial = args.missing || args.speeds || args.only !== undefined
    if (partial && old !== undefined && old.rows.length > 0 && !args.speeds && (old.tokens !== scored || old.seconds !== seconds)) throw new RangeError(`${json} is of ${old.tokens} tokens and ${old.seconds} seconds: its rows cannot stand beside others`)
    const key = (r: { readonly group: string; readonly name: string }): string => `${r.group} ${r.name}`
    const read = async (): Promise<PruneTable | undefined> => readFile(json, "utf8").then((t) => JSON.parse(t) as PruneTable, () => undefined), fresh: PruneTable = { tokens: scored, seconds, rows: [], ...(old?.digits && { digits: old.digits }) }
    let table = partial ? old ?? fresh : fresh
    const rowOf = (row: { readonly group: string; readonly name: string }): PruneRow => table.rows.find((r) => key(r) === key(row)) ?? { group: row.group, name: row.name, runs: [] }
    /** Changes one row; others may have been measured meanwhile by another run, and digits read. */
    const change = async (row: PruneRow, how: (row: PruneRow) => PruneRow, first: boolean): Promise<void> => {
      table = (first && !partial ? undefined : await read()) ?? table
      const all = new Map([...table.rows, how(rowOf(row))].map((r) => [key(r), r]))
      // Rows in the order of the list, whenever they were measured.
      table = { ...table, rows: rows.map((r) => all.get(key(r))).filter((r) => r !== undefined) }
      await writeFile(json, `${JSON.stringify(table, undefined, 1)}\n`)
      await writeFile(args.out, page(table))
    }
    const wanted = rows.filter((r) => args.only === undefined || key(r).includes(args.only))
    const seeds = Array.from({ length: count("seeds") }, (_, i) => i), prompt = tokenizer.encode("Once upon a time there was")
    // First seeds first, so that the page is of all rows soon.
    const jobs = args.speeds
      ? wanted.filter((r) => r.recovers === undefined && !(args.missing && rowOf(r).speed)).map((row) => ({ row, seed: 0 }))
      : seeds.flatMap((seed) => wanted.filter((r) => (r.seeded || seed === 0) && !(args.missing && rowOf(r).runs.some((m) => m.seed === seed))).map((row) => ({ row, seed })))
    const bar = progress("{bar} {value}/{total} · {name}", jobs.length, { name: "" })
    try {
      for (const [i, { row, seed }] of jobs.entries()) {
        bar.next({ name: args.speeds || !row.seeded ? row.name : `${row.name}, seed ${seed}` })
        if (args.speeds) {
          const speed = await speedOf(row, bench, prompt, rounds)
          await change(rowOf(row), (r) => ({ ...r, speed }), i === 0)
        } else {
          const run = await measured(row, seed, bench)
          await change(rowOf(row), (r) => ({ ...r, runs: [...r.runs.filter((m) => m.seed !== seed), run].toSorted((a, b) => a.seed - b.seed) }), i === 0)
        }
      }
    } finally {
      bar.stop()
      await device.close()
    }
    const found = claims(table.rows)
    for (const { words, numbers, holds } of found) console.log(`${holds ? "yes" : "NO "}  ${words}: ${numbers.map((n) => n.toPrecision(3)).join(" / ")}`)
    console.log(`${found.filter((c) => c.holds).length} of ${found.length} hold`)
  },
})

await runMain(command)
