import { compile, quantizedWeight, realize, tensor, uploadParts, type Tensor } from "@thimble/core"
import { int } from "@thimble/compress"
import type { Context, Part } from "./part.ts"
import { noise, timed } from "./time.ts"
import { randomParts } from "./weights.ts"

/** A matrix of random numbers: a short run of them over and over, since only its size takes time. */
async function matrix(rows: number, columns: number, dtype: "f32" | "f16", seed: number): Promise<Tensor> {
  const some = noise(Math.min(rows * columns, 2 ** 20 - 7), seed), all = new Float32Array(rows * columns)
  for (let at = 0; at < all.length; at += some.length) all.set(some.subarray(0, Math.min(some.length, all.length - at)), at)
  const f32 = tensor(all, { shape: [rows, columns] })
  if (dtype === "f32") return f32
  const half = f32.cast("f16")
  await realize(half)
  f32.dispose()
  return half
}

/** Compares a row of the product with the same sums in float64. */
async function firstRow(a: Tensor, b: Tensor, c: Tensor): Promise<number> {
  const [, k] = a.shape as [number, number], n = b.shape[1]!, columns = Math.min(n, 16)
  const [x, y, z] = await Promise.all([a.slice([0, 1]).cast("f32").data(), b.slice([0, k], [0, columns]).cast("f32").data(), c.slice([0, 1], [0, columns]).cast("f32").data()]) as [Float32Array, Float32Array, Float32Array]
  let worst = 0
  for (let j = 0; j < columns; j++) {
    let sum = 0, magnitude = 0
    for (let l = 0; l < k; l++) {
      sum += x[l]! * y[l * columns + j]!
      magnitude += Math.abs(x[l]! * y[l * columns + j]!)
    }
    worst = Math.max(worst, Math.abs(z[j]! - sum) / magnitude)
  }
  return worst
}

async function square(context: Context, n: number, dtype: "f32" | "f16"): Promise<void> {
  const { ceilings, row } = context
  const [a, b] = [await matrix(n, n, dtype, 1), await matrix(n, n, dtype, 2)]
  const product = compile((a: Tensor, b: Tensor) => a.matmul(b))
  const c = await product(a, b), error = await firstRow(a, b, c)
  c.dispose()
  const ms = await timed(context, async () => (await product(a, b)).dispose())
  const tflops = (2 * n ** 3) / ms / 1e9
  row(`product ${dtype} ${n}`, { "TFLOP/s": tflops, ms, "% of f32 FMA": (100 * tflops) / ceilings.f32Tflops, error })
  a.dispose()
  b.dispose()
}

export const products: Part = {
  name: "products of square matrices",
  seconds: 60,
  async run(context) {
    for (const n of context.tiny ? [128] : [1024, 2048, 4096, 8192])
      for (const dtype of ["f32", "f16"] as const) if (context.left() > 8000) await square(context, n, dtype)
  },
}

/** One row times a matrix [n, k], over several matrices, so that none is found in a cache. */
async function row(context: Context, n: number, k: number, kind: "q4" | "q8" | "f16", activations: "f32" | "int8"): Promise<void> {
  const format = int(kind === "q4" ? 4 : 8, { group: 32 })
  const bytes = kind === "f16" ? 2 * n * k : (n * k * format.bits) / 8, copies = context.tiny ? 2 : Math.max(2, Math.ceil(4e8 / bytes))
  const x = tensor(noise(k, 3), { shape: [1, k] })
  await realize(x)
  const weights = await Promise.all(Array.from({ length: copies }, async () => (kind === "f16" ? await matrix(n, k, "f16", 5) : quantizedWeight(format, [n, k], uploadParts(randomParts(format, [n, k])), { activations }))))
  const apply = compile((weights: typeof weights0, x: Tensor) => weights.map((w) => ("apply" in w ? w.apply(x) : x.matmul(w.T))))
  const ms = (await timed(context, async () => { for (const y of await apply(weights, x)) y.dispose() })) / copies
  const gbs = bytes / ms / 1e6
  context.row(`${kind}${kind === "f16" ? "" : `, ${activations} activations,`} [1, ${k}] × [${n}, ${k}]ᵀ`, { "GB/s": gbs, "µs": ms * 1e3, "% of copy": (100 * gbs) / context.ceilings.copyGbs })
  for (const w of weights) for (const part of "apply" in w ? Object.values(w.parts()) : [w]) part.dispose()
  x.dispose()
}
type Weights = (Tensor | ReturnType<typeof quantizedWeight>)[]
declare const weights0: Weights

export const rows: Part = {
  name: "one row times a matrix",
  seconds: 45,
  async run(context) {
    for (const [n, k] of context.tiny ? [[96, 128]] : [[4096, 4096], [11008, 4096], [4096, 11008]])
      for (const [kind, activations] of [["q4", "int8"], ["q4", "f32"], ["q8", "int8"], ["q8", "f32"], ["f16", "f32"]] as const) if (context.left() > 4000) await row(context, n!, k!, kind, activations)
  },
}
