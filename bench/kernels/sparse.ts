// Products with sparse weights beside the dense one, x [1, columns] · Wᵀ: milliseconds, and how many times faster than f32.
// node bench/kernels/sparse.ts [size] [threads] [median or best, of 25 samples taken in turn] [matrix] [format]   e.g. 4096 2 best "80 %" csr
import { compile, denseWeight, quantizeWeight, realize, tensor, tensorsOf, type Format, type Weight } from "../../packages/core/src/index.ts"
import { bitmask, blocks, csr, nOfM } from "../../packages/compress/src/index.ts"
import { open } from "../../packages/kernels/src/index.ts"
import { median } from "../measure.ts"

const [size = "4096", threads = "2", figure = "median", matrices = "", stored = ""] = process.argv.slice(2), n = Number(size)
let seed = 1
const random = (): number => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32

/** A matrix of which a share stays: elements at random, or blocks, or so many of four. */
function matrix(share: number, block: readonly [number, number] = [1, 1], ofFour = 0): Float32Array {
  const values = new Float32Array(n * n), [r, c] = block
  if (ofFour > 0) for (let i = 0; i < n * n; i += 4) { const a = Math.floor(random() * 4); for (let j = 0; j < ofFour; j++) values[i + ((a + 1 + j * (1 + Math.floor(random() * 2))) % 4)] = random() - 0.5 }
  else for (let i = 0; i < n; i += r) for (let j = 0; j < n; j += c) if (random() < share) for (let a = 0; a < r; a++) for (let b = 0; b < c; b++) values[(i + a) * n + j + b] = random() - 0.5
  return values
}

const device = await open("wasm", { threads: Number(threads) }), x = tensor(Float32Array.from({ length: n }, () => random() - 0.5), { shape: [1, n] })
await realize(x)
const rows: readonly (readonly [string, () => Float32Array, readonly Format[]])[] = [
  ["2:4", () => matrix(0.5, [1, 1], 2), [nOfM(2, 4), nOfM(2, 4, { values: "f16" }), nOfM(2, 4, { values: "int8" })]],
  ...([50, 80, 90, 95] as const).map((s) => [`${s} %`, () => matrix(1 - s / 100), [csr(), bitmask(), csr({ values: "f16" }), bitmask({ values: "f16" }), csr({ values: "int8" }), bitmask({ values: "int8" })]] as const),
  ["80 %, 4×4", () => matrix(0.2, [4, 4]), [blocks([4, 4])]],
  ["80 %, 1×8", () => matrix(0.2, [1, 8]), [blocks([1, 8])]],
]
/** Milliseconds of products, taken in turn. */
async function times(weights: readonly Weight[]): Promise<number[]> {
  const steps = weights.map((w) => compile(() => w.apply(x))), samples = weights.map((): number[] => [])
  for (let i = 0; i < 30; i++) for (const [j, step] of steps.entries()) {
    const start = performance.now(), y = await step()
    await realize(y)
    await y.data()
    if (i >= 5) samples[j]!.push(performance.now() - start)
    y.dispose()
  }
  for (const s of steps) s.dispose()
  return samples.map(figure === "best" ? (all) => Math.min(...all) : median)
}
for (const [name, make, all] of rows) {
  const formats = all.filter((f) => f.name.includes(stored))
  if (!name.includes(matrices) || formats.length === 0) continue
  const values = make()
  const weights = [denseWeight(tensor(values, { shape: [n, n] })), ...formats.map((f) => quantizeWeight(f, values, [n, n]))]
  await realize(...tensorsOf(weights))
  const ms = await times(weights)
  weights.forEach((w, i) => console.log(`${name.padEnd(10)} ${(i === 0 ? "dense f32" : formats[i - 1]!.name).padEnd(16)} ${(w.bytes / 2 ** 20).toFixed(1).padStart(6)} MiB  ${ms[i]!.toFixed(3)} ms  ${(ms[0]! / ms[i]!).toFixed(2)} ×`))
  for (const t of tensorsOf(weights)) t.dispose()
}
await device.close()
