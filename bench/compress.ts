// Compressing one layer, beside PyTorch in the same run: GPTQ in groups from calibration inputs, H included.
// node bench/compress.ts [--rows 4096] [--columns 4096] [--tokens 2048] [--bits 4] [--group 128] [--runs 3] [--exact]
// PYTHON names the interpreter; --exact solves in float64 on the host, too.
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { solveGptq, solveGptqOnDevice, hessian, hessianOnDevice, int, solvedWeight, solveSparsegptOnDevice } from "@thimble/compress"
import { realize, tensor } from "@thimble/core"
import { open } from "@thimble/kernels"
import { uniform } from "./random.ts"

const option = (or: number) => ({ type: "string" as const, default: String(or) })
const { values: flags } = parseArgs({
  options: { rows: option(4096), columns: option(4096), tokens: option(2048), bits: option(4), group: option(128), runs: option(3), exact: { type: "boolean", default: false } },
})
const rows = Number(flags.rows), columns = Number(flags.columns), tokens = Number(flags.tokens), bits = Number(flags.bits) as 4, group = Number(flags.group), runs = Number(flags.runs)
const ms = (n: number): string => `${n.toFixed(0).padStart(7)} ms`

// Neighbouring inputs resemble each other, and some reach further, as in a model.
const w = uniform(1, rows * columns), x = uniform(2, tokens * columns)
for (let t = 0; t < tokens; t++) for (let j = 1; j < columns; j++) x[t * columns + j] = 0.5 * x[t * columns + j]! + 0.6 * x[t * columns + j - 1]! * (j % 97 === 0 ? 4 : 1)

/** ‖x·(w − ŵ)ᵀ‖² / ‖x·wᵀ‖² on the device. */
async function outputError(values: Float32Array | Float64Array): Promise<number> {
  const tx = tensor(x, { shape: [tokens, columns] }), tw = tensor(w, { shape: [rows, columns] }), tv = tensor(Float32Array.from(values), { shape: [rows, columns] })
  const lost = tx.linear(tw.sub(tv)).square().sum(), whole = tx.linear(tw).square().sum()
  const [a, b] = [(await lost.data())[0]!, (await whole.data())[0]!]
  for (const t of [tx, tw, tv, lost, whole]) t.dispose()
  return Math.sqrt(Number(a) / Number(b))
}

const device = await open("wasm")
console.log(`GPTQ int${bits} group ${group}, ${rows} × ${columns}, ${tokens} tokens, on ${device.name} with ${device.threads ?? 1} threads`)
const inputs = tensor(x, { shape: [tokens, columns] })
await realize(inputs)
let values: Float64Array | undefined
const times: number[] = []
for (let i = 0; i < runs; i++) {
  const begin = performance.now(), sum = hessianOnDevice(columns)
  await sum.add(inputs)
  const h = await sum.matrix(), summed = performance.now()
  sum.dispose()
  const found = await solveGptqOnDevice(w, [rows, columns], h, { bits, group, range: "asymmetric" }), end = performance.now()
  h.dispose()
  values = found.values
  times.push(end - begin)
  console.log(`  thimble  ${ms(end - begin)}   H ${ms(summed - begin)}   factor and rounding ${ms(end - summed)}   loss ${found.loss.reduce((a, b) => a + b, 0).toPrecision(6)}`)
}
console.log(`  relative output error ${(await outputError(values!)).toFixed(4)}`)
{
  const sum = hessianOnDevice(columns)
  await sum.add(inputs)
  const h = await sum.matrix(), format = int(bits, { group }), found = await timed("GPTQ into int, stored", async () => {
    const solved = await solveGptqOnDevice(w, [rows, columns], h, { format })
    return solvedWeight(format, [rows, columns], solved).bytes
  })
  console.log(`    ${found} bytes`)
  await timed("SparseGPT 50 %", async () => solveSparsegptOnDevice(w, [rows, columns], h, { sparsity: 0.5 }))
  await timed("SparseGPT 2:4", async () => solveSparsegptOnDevice(w, [rows, columns], h, { sparsity: { keep: 2, of: 4 } }))
}
if (flags.exact) {
  const found = await timed("float64 on the host", async () => {
    const sum = hessian(columns)
    sum.add(x, tokens)
    return solveGptq(w, [rows, columns], sum.matrix(), { bits, group })
  })
  console.log(`    codes that differ: ${(found.values.reduce((n, v, i) => n + Number(Math.abs(v - values![i]!) > 1e-4), 0) / values!.length * 100).toFixed(3)} %`)
}

const folder = mkdtempSync(join(tmpdir(), "thimble-gptq-"))
try {
  writeFileSync(join(folder, "w.f32"), w)
  writeFileSync(join(folder, "x.f32"), x)
  const threads = device.threads ?? 1
  const { stdout, stderr, status } = spawnSync(process.env.PYTHON ?? "python3", [join(import.meta.dirname, "peers/gptq.py"), folder, ...[rows, columns, tokens, bits, group, threads, runs].map(String)], { encoding: "utf8", maxBuffer: 1 << 26 })
  if (status !== 0) console.log(`no PyTorch to compare with: ${stderr.trim().split("\n").at(-1)}`)
  else {
    const theirs = stdout.trim().split("\n").map((line) => JSON.parse(line) as { ms: number; hessian: number; factor: number; rounding: number; loss: number })
    for (const t of theirs) console.log(`  pytorch  ${ms(t.ms)}   H ${ms(t.hessian)}   factor ${ms(t.factor)}   rounding ${ms(t.rounding)}   loss ${t.loss.toPrecision(6)}`)
    const bytes = readFileSync(join(folder, "values.f32"))
    console.log(`  relative output error ${(await outputError(new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4))).toFixed(4)}`)
    console.log(`  best of ${runs}: ${(Math.min(...times) / Math.min(...theirs.map((t) => t.ms))).toFixed(2)} × PyTorch's time`)
  }
} finally {
  rmSync(folder, { recursive: true })
}
await device.close()

async function timed<T>(name: string, fn: () => Promise<T>): Promise<T> {
  const begin = performance.now(), result = await fn()
  console.log(`  ${name}: ${ms(performance.now() - begin)}`)
  return result
}
