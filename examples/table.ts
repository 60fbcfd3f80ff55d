// Compresses the demo model in every format and by every method, over several seeds, and writes a table of what each costs.
import { readFile, writeFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { calibration, type Calibration } from "@thimble/compress"
import { open } from "@thimble/kernels"
import { loadModel } from "@thimble/models"
import { defineCommand, runMain } from "citty"
import { number } from "./demo/number.ts"
import { progress } from "./demo/progress.ts"
import { measured, type Measured } from "./table/measured.ts"
import { page } from "./table/page.ts"
import { rows } from "./table/rows.ts"
import { joined, ofSource, prose, tokens } from "./train/text.ts"

const command = defineCommand({
  meta: { name: "table", description: "Measures what every format and method of quantization costs on the demo model." },
  args: {
    model: { type: "string", default: fileURLToPath(new URL("../models/demo", import.meta.url)), description: "Directory, or GGUF file, of the model", valueHint: "PATH" },
    seeds: { type: "string", default: "3", description: "Seeds of calibration data, rotations and training", valueHint: "N" },
    tokens: { type: "string", default: "8000", description: "Held-out tokens that are scored", valueHint: "N" },
    missing: { type: "boolean", default: false, description: "Only rows that the page does not have yet" },
    only: { type: "string", description: "Only rows whose name or group has this in it", valueHint: "TEXT" },
    out: { type: "string", default: fileURLToPath(new URL("../docs/quantization.md", import.meta.url)), description: "The page, whose rows are kept where they are not measured again", valueHint: "FILE" },
    device: { type: "string", default: "wasm", description: "Where to compute" },
    threads: { type: "string", description: "Threads of the CPU; as many as it has processors", valueHint: "N" },
  },
  async run({ args }) {
    const threads = number("threads", args.threads, 1), device = await open(args.device, { ...(threads !== undefined && { threads }) }), control = new AbortController()
    process.once("SIGINT", () => control.abort())
    const model = await loadModel(args.model), texts = await prose(), { tokenizer } = model
    if (tokenizer?.eos === undefined) throw new RangeError("the model has no tokenizer, or no token that ends texts")
    // Enough text to draw sequences from.
    const some = joined(texts.training).slice(0, 2_000_000), known = new Map<number, Promise<Calibration>>()
    const options = {
      model, text: tokens(texts.training, tokenizer, tokenizer.eos), calibration: (seed: number) => known.get(seed) ?? known.set(seed, calibration(tokenizer, some, { samples: 32, length: 256, seed })).get(seed)!, heldOut: joined(ofSource(texts.heldOut, "Moby Dick")),
      tokens: number("tokens", args.tokens, 1)!, seeds: Array.from({ length: number("seeds", args.seeds, 1)! }, (_, i) => i), signal: control.signal,
    }
    const json = args.out.replace(/\.md$/, ".json"), before = new Map((await readFile(json, "utf8").then((t) => JSON.parse(t) as Measured[], () => [])).map((r) => [`${r.group} ${r.name}`, r]))
    const wanted = rows.filter(({ name, group }) => (args.only === undefined || `${group} ${name}`.includes(args.only)) && !(args.missing && before.has(`${group} ${name}`)))
    const bar = progress("{bar} {value}/{total} · {name}", wanted.length, { name: "" })
    try {
      for (const row of wanted) {
        bar.next({ name: row.name })
        before.set(`${row.group} ${row.name}`, await measured(row, options))
        // Rows in the order of the list, whenever they were measured.
        const all = rows.map((r) => before.get(`${r.group} ${r.name}`)).filter((r) => r !== undefined)
        await writeFile(json, `${JSON.stringify(all, undefined, 1)}\n`)
        await writeFile(args.out, page(all, options.seeds.length, options.tokens))
      }
    } finally {
      bar.stop()
      await device.close()
    }
  },
})

await runMain(command)
