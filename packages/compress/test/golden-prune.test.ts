import { describe, expect, test } from "vitest"
import type { TypedArray } from "@thimble/core"
import { openGolden } from "../../conformance/src/golden.ts"
import { keptByRow, solveSparsegpt, wandaScores, type Sparsity } from "../src/index.ts"

interface Sparse { readonly name: string; readonly layer: "A" | "B"; readonly sparsity: number; readonly prunen?: number; readonly prunem?: number; readonly blocksize?: number; readonly percdamp: number; readonly quant_bits: 0 | 4; readonly weights_f64: string; readonly zero_mask: string; readonly ref_loss: number }
interface Wanda { readonly name: string; readonly layer: "A" | "B"; readonly ratio: number; readonly n: number; readonly m: number; readonly zero_mask: string; readonly scaler_row: string; }
const set = await openGolden<{ readonly sparsegpt: readonly Sparse[]; readonly wanda: readonly Wanda[] }>("gptq", new URL("../fixtures", import.meta.url))
const numbers = (name: string): number[] => Array.from(set.array(name) as TypedArray, Number)
const layer = (name: "A" | "B"): { w: Float32Array; shape: [number, number]; h: Float64Array } => ({
  w: set.array(`layer${name}.W`) as Float32Array, shape: set.manifest.tensors[`layer${name}.W`]!.shape as [number, number],
  h: set.array(`layer${name}.H_f64`) as Float64Array,
})

describe("SparseGPT: masks, weights and losses are the published code's, run in float64", () => {
  test.each(set.manifest.sparsegpt.map((c) => [c.name, c] as const))("%s", (_, c) => {
    const { w, shape, h } = layer(c.layer), sparsity: Sparsity = c.prunem ? { keep: c.prunem - c.prunen!, of: c.prunem } : c.sparsity
    const found = solveSparsegpt(w, shape, h, { sparsity, damping: c.percdamp, ...(c.blocksize && { block: c.blocksize }), ...(c.quant_bits && { round: { bits: c.quant_bits } }) })
    expect([...found.values].map((v) => Number(v === 0))).toEqual(numbers(c.zero_mask))
    const want = numbers(c.weights_f64), most = Math.max(...want.map(Math.abs))
    // Those of the larger layer are kept in f32.
    found.values.forEach((v, i) => expect(Math.abs(v - want[i]!)).toBeLessThanOrEqual((c.layer === "A" ? 1e-11 : 2 ** -24) * most))
    const loss = found.loss.reduce((a, b) => a + b, 0) / 2
    expect(Math.abs(loss - c.ref_loss)).toBeLessThanOrEqual(1e-9 * c.ref_loss)
    if (c.quant_bits === 0) found.kept.forEach((k, i) => expect(found.values[i] === 0).toBe(k === 0 || w[i] === 0 || c.layer === "B" && i % shape[1] === 5))
  })
})

describe("Wanda: scores and masks are the published code's", () => {
  test.each(set.manifest.wanda.filter((c) => c.name.startsWith("wanda")).map((c) => [c.name, c] as const))("%s", (_, c) => {
    const { w, shape } = layer(c.layer), scores = wandaScores(w, shape, numbers(c.scaler_row))
    const kept = keptByRow(scores, shape, c.m > 0 ? { keep: c.m - c.n, of: c.m } : c.ratio)
    expect([...kept].map((k) => 1 - k)).toEqual(numbers(c.zero_mask))
  })
})
