import { describe, expect, test } from "vitest"
import { roundHalfEven, type TypedArray } from "@thimble/core"
import { openGolden } from "../../conformance/src/golden.ts"
import { awqClip, awqRound, awqScales, columnAbsmax, solveHqq, smoothScales } from "../src/index.ts"

interface Hqq { readonly name: string; readonly bits: 4; readonly group_size: number; readonly axis: 0 | 1; readonly optimize: boolean; readonly ints: string; readonly scale: string; readonly zero: string; readonly mean_abs_err: number }
interface Awq { readonly name: string; readonly mode: "llm-awq" | "autoawq-duo" | "auto_clip"; readonly bits: 4; readonly group_size: number; readonly loss_table: string; readonly scales_table: string; readonly best_ratio: number; readonly best_loss: number; readonly best_scales: string; readonly ints: string; readonly group_scales: string; readonly zeros: string; readonly best_max_val: string }
interface Smooth { readonly name: string; readonly alpha: number; readonly act_absmax: string; readonly W2: string; readonly scales: string; readonly w8_per_channel_scale: string; readonly x8_per_token_scale: string; readonly w_int8: string; readonly x_int8: string }

const set = await openGolden<{ readonly hqq: readonly Hqq[]; readonly awq: readonly Awq[]; readonly smoothquant: readonly Smooth[] }>("gptq", new URL("../fixtures", import.meta.url))
const numbers = (name: string): number[] => Array.from(set.array(name) as TypedArray, Number)
const near = (got: ArrayLike<number>, want: ArrayLike<number>, relative = 1e-11): void => {
  expect(got.length).toBe(want.length)
  for (let i = 0; i < want.length; i++) expect(Math.abs(got[i]! - want[i]!)).toBeLessThanOrEqual(relative * Math.max(Math.abs(want[i]!), 1e-3))
}
const w = set.array("layerA.W") as Float32Array, x = set.array("layerA.X") as Float32Array
const shape = set.manifest.tensors["layerA.W"]!.shape as [number, number], [, columns] = shape

describe("HQQ", () => {
  test.each(set.manifest.hqq.map((c) => [c.name, c] as const))("%s", (_, c) => {
    const found = solveHqq(w, shape, { bits: c.bits, group: c.group_size, along: c.axis === 1 ? "row" : "column", search: c.optimize ? "proximal" : "none" })
    expect([...found.codes]).toEqual(numbers(c.ints))
    near(found.scales, numbers(c.scale))
    near(found.zeros, numbers(c.zero))
    const error = w.reduce((s, v, i) => s + Math.abs(v - (found.codes[i]! - found.zeros[found.groupOf(i)]!) * found.scales[found.groupOf(i)]!), 0) / w.length
    near([error], [c.mean_abs_err], 1e-6)
  })
})

describe("AWQ", () => {
  test.each(set.manifest.awq.filter((c) => c.mode !== "auto_clip").map((c) => [c.name, c] as const))("%s", (_, c) => {
    const found = awqScales(w, shape, x, { bits: c.bits, group: c.group_size, scaling: c.mode === "llm-awq" ? "activation" : "both" })
    near(found.losses, numbers(c.loss_table), 1e-9)
    expect(found.ratio).toBe(c.best_ratio)
    near(found.scales, numbers(c.best_scales))
    expect(found.loss).toBeLessThanOrEqual(found.plainLoss)
    const scaled = awqRound(Float64Array.from(w, (v, i) => v * found.scales[i % columns]!), columns, c.bits, c.group_size)
    expect([...scaled.codes]).toEqual(numbers(c.ints))
    expect([...scaled.zeros]).toEqual(numbers(c.zeros))
    near(scaled.scales, numbers(c.group_scales))
  })
  test.each(set.manifest.awq.filter((c) => c.mode === "auto_clip").map((c) => [c.name, c] as const))("%s", (_, c) =>
    near(awqClip(w, shape, x, { bits: 4, group: c.group_size }), numbers(c.best_max_val)))

  // AutoAWQ's candidates do not include it: with ratio 0 they divide by the weights.
  test("factors of one are a candidate: no calibration makes it worse than none", () => {
    for (const scaling of ["activation", "both"] as const)
      for (let seed = 1; seed < 12; seed++) {
        const inputs = x.map((v, i) => v * (1 + ((i % columns) * seed) % 7))
        const found = awqScales(w.subarray(0, 4 * columns), [4, columns], inputs.subarray(0, 16 * columns), { bits: 3, group: 32, scaling, points: 3 })
        expect(found.loss).toBeLessThanOrEqual(found.plainLoss)
        expect(found.loss).toBe(Math.min(found.plainLoss, ...found.losses))
      }
  })
})

describe("SmoothQuant", () => {
  test.each(set.manifest.smoothquant.map((c) => [c.name, c] as const))("%s", (_, c) => {
    const w2 = set.array(c.W2) as Float32Array, most = columnAbsmax(columns, x)
    near(most, numbers(c.act_absmax))
    const s = smoothScales(most, columnAbsmax(columns, w, w2), { alpha: c.alpha })
    near(s, numbers(c.scales))
    const rows = (values: Float64Array): { codes: number[]; scales: number[] } => {
      const codes: number[] = [], scales: number[] = []
      for (let r = 0; r < values.length; r += columns) {
        const own = values.subarray(r, r + columns), scale = own.reduce((m, v) => Math.max(m, Math.abs(v)), 0) / 127
        scales.push(scale)
        own.forEach((v) => codes.push(roundHalfEven(v / scale) + 0))
      }
      return { codes, scales }
    }
    const weights = rows(Float64Array.from(w, (v, i) => v * s[i % columns]!)), inputs = rows(Float64Array.from(x, (v, i) => v / s[i % columns]!))
    near(weights.scales, numbers(c.w8_per_channel_scale))
    near(inputs.scales, numbers(c.x8_per_token_scale))
    expect(weights.codes).toEqual(numbers(c.w_int8))
    expect(inputs.codes).toEqual(numbers(c.x_int8))
  })

  test("halfway, inputs and weights of a column reach equally far; at either end one of them is one", () => {
    const most = columnAbsmax(columns, x).map((v) => Math.max(v, 0.1)), weights = columnAbsmax(columns, w).map((v) => Math.max(v, 0.1))
    smoothScales(most, weights).forEach((s, j) => near([most[j]! / s], [weights[j]! * s], 1e-14))
    smoothScales(most, weights, { alpha: 0 }).forEach((s, j) => near([weights[j]! * s], [1], 1e-14))
    smoothScales(most, weights, { alpha: 1 }).forEach((s, j) => near([most[j]! / s], [1], 1e-14))
  })
})
