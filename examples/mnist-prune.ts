// Prunes networks that read handwritten digits: single weights of linear layers, as lottery tickets, and channels of convolutions.
import { readFile, writeFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { open } from "@thimble/kernels"
import { defineCommand, runMain } from "citty"
import { number } from "./demo/number.ts"
import { channels, milliseconds, parametersOf, type ChannelResult } from "./mnist/channels.ts"
import { digits } from "./mnist/digits.ts"
import { sizes, ticket } from "./mnist/ticket.ts"
import { digitClaims, type DigitResults } from "./prune/digits-page.ts"
import { page, type PruneTable } from "./prune/page.ts"

const command = defineCommand({
  meta: { name: "mnist-prune", description: "Prunes networks that read digits to a twentieth of their weights, and to half of their channels." },
  args: {
    data: { type: "string", required: true, description: "Folder of the IDX files: NAME-images-idx3-ubyte.gz and NAME-labels-idx1-ubyte.gz", valueHint: "PATH" },
    train: { type: "string", default: "train10k", description: "Name of the files to train on", valueHint: "NAME" },
    test: { type: "string", default: "t10k", description: "Name of the files to test on", valueHint: "NAME" },
    seeds: { type: "string", default: "3", description: "Networks of each kind", valueHint: "N" },
    epochs: { type: "string", default: "20", description: "Times that each training of linear layers sees every image", valueHint: "N" },
    rounds: { type: "string", default: "10", description: "Rounds of training and pruning", valueHint: "N" },
    learning: { type: "string", default: "3", description: "Times that convolutions see every image", valueHint: "N" },
    tuning: { type: "string", default: "2", description: "Times that they do without half of their channels", valueHint: "N" },
    out: { type: "string", default: fileURLToPath(new URL("../docs/pruning.md", import.meta.url)), description: "The page that it is written to", valueHint: "FILE" },
    threads: { type: "string", default: "1", description: "Threads that compute", valueHint: "N" },
  },
  async run({ args }) {
    const count = (name: "seeds" | "epochs" | "rounds" | "learning" | "tuning" | "threads"): number => number(name, args[name], 1)!
    const device = await open("wasm", { threads: count("threads") }), [training, test] = [await digits(args.data, args.train), await digits(args.data, args.test)], [left, share, batch] = [0.05, 0.5, 250]
    const tickets: Awaited<ReturnType<typeof ticket>>[] = [], cuts: ChannelResult[] = []
    for (let seed = 0; seed < count("seeds"); seed++) {
      const t = await ticket({ training, test, seed, epochs: count("epochs"), left, rounds: count("rounds") })
      console.log(`seed ${seed}: ${sizes.join("-")} ${t.whole.toFixed(2)} %, ${100 * left} % of it ${t.pruned.toFixed(2)} %, from other first weights ${t.random.toFixed(2)} %`)
      tickets.push(t)
      const c = await channels({ training, test, seed, epochs: count("learning"), tuning: count("tuning"), rate: 0.002, share })
      console.log(`seed ${seed}: convolutions ${c.whole.toFixed(2)} %, half of the channels ${c.cut.toFixed(2)} %, tuned ${c.tuned.toFixed(2)} %`)
      cuts.push(c)
    }
    const { before, after } = cuts[0]!
    const results: DigitResults = {
      images: { training: training.labels.length, test: test.labels.length },
      ticket: { layers: sizes, left, rounds: count("rounds"), whole: tickets.map((t) => t.whole), pruned: tickets.map((t) => t.pruned), random: tickets.map((t) => t.random) },
      channels: { share, batch, whole: cuts.map((c) => c.whole), cut: cuts.map((c) => c.cut), tuned: cuts.map((c) => c.tuned), parameters: [parametersOf(before), parametersOf(after)], milliseconds: (await milliseconds([before, after], test, batch, 25)) as [number, number] },
    }
    const json = args.out.replace(/\.md$/, ".json"), old = await readFile(json, "utf8").then((t) => JSON.parse(t) as PruneTable, (): PruneTable => ({ tokens: 0, seconds: 0, rows: [] })), table = { ...old, digits: results }
    await writeFile(json, `${JSON.stringify(table, undefined, 1)}\n`)
    await writeFile(args.out, page(table))
    for (const [words, holds] of digitClaims(results)) console.log(`${holds ? "yes" : "NO "}  ${words}`)
    await device.close()
  },
})

await runMain(command)
