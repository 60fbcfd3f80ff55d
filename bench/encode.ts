// How fast weights are encoded: MB/s of f32 input, by format and number of threads.
// node bench/encode.ts [--formats Q4_K,Q8_0] [--threads 1,2] [--megabytes 64] [--runs 5]. Medians.
// The peer is llama-quantize, which node-llama-cpp does not bind: its figures were measured apart, from file to file, by
// a native AVX-512 build of llama.cpp on two cores of the same kind of machine (Zen 4).
import { parseArgs } from "node:util"
import { affine, encodeRows, formatNamed, int, type QuantizedFormat } from "../packages/compress/src/index.ts"
import { callHelpers, endHelpers, releaseHelpers } from "../packages/compress/src/parallel/helper.ts"
import { fill } from "../packages/compress/src/laws/values.ts"
import { median } from "./measure.ts"

/** MB/s of f32 that llama-quantize takes with one thread and with two, and by how much longer we may take with two. */
const peers: Readonly<Record<string, readonly [one: number, two: number, allowed: number]>> = { Q8_0: [657, 944, 3], Q4_0: [510, 819, 3], Q4_K: [69, 131, 2] }

const given = (name: string, or: string) => ({ [name]: { type: "string" as const, default: or } })
const usual = "Q8_0,Q4_0,Q4_K,Q5_K,Q6_K,Q2_K,Q3_K,IQ4_NL,int4g128,int8,affine4g64,nf4,mx e2m1"
const { values: flags } = parseArgs({ options: { ...given("formats", usual), ...given("threads", "1,2"), ...given("megabytes", "64"), ...given("runs", "5") } })
const list = (name: string): string[] => (flags as Record<string, string>)[name]!.split(",")
const columns = 4096, rows = Math.round((Number(flags.megabytes) * 1e6) / 4 / columns), threads = list("threads").map(Number), runs = Number(flags.runs)
const values = fill("gaussian", 1, [rows, columns]).map((v) => 0.02 * v), importance = fill("gaussian", 2, [1, columns]).map((v) => v * v)

/** What of the others' names is made by a function, so that a change of what it is called shows here. */
const makers: Readonly<Record<string, () => QuantizedFormat>> = { int4g128: () => int(4, { group: 128 }), int8: () => int(8), affine4g64: () => affine(4, { group: 64 }) }

async function rate(format: QuantizedFormat, count: number, weighted: boolean): Promise<number> {
  const times: number[] = []
  // The first run is for the compilers.
  for (let i = 0; i <= runs; i++) {
    const begin = performance.now()
    await encodeRows(format, values, [rows, columns], { threads: count, ...(weighted && { importance }) })
    times.push(performance.now() - begin)
  }
  return (rows * columns * 4) / 1e3 / median(times.slice(1))
}

/** Threads that are still starting would not count. */
async function warm(count: number): Promise<void> {
  const helpers = callHelpers(count)
  while (!helpers.every((h) => h.free)) await new Promise((resolve) => setTimeout(resolve, 5))
}
await warm(Math.max(...threads) - 1)

const row = (cells: readonly string[]): void => console.log(cells.map((c, i) => (i === 0 ? c.padEnd(22) : c.padStart(14))).join(""))
console.log(`${rows} × ${columns}, ${((rows * columns * 4) / 1e6).toFixed(0)} MB of f32; MB/s by threads, medians of ${runs}`)
row(["", ...threads.map(String), "llama-quantize", "allowed time", "taken"])
for (const name of list("formats"))
  for (const weighted of /_K|IQ/.test(name) ? [false, true] : [false]) {
    const format = (makers[name] ?? (() => formatNamed(name)))(), rates: number[] = []
    for (const count of threads) rates.push(await rate(format, count, weighted))
    const peer = weighted ? undefined : peers[name], two = rates[threads.indexOf(2)]
    row([`${name}${weighted ? ", importance" : ""}`, ...rates.map((r) => r.toFixed(0)), peer ? `${peer[0]} → ${peer[1]}` : "–", peer ? `${peer[2]} ×` : "–", peer && two ? `${(peer[1] / two).toFixed(2)} ×` : "–"])
  }
releaseHelpers()
endHelpers()
