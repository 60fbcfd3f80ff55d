import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { decode } from "@thimble/core"
import { entropy, int, mse, percentile, type Counterexample, type QuantizedFormat } from "../src/index.ts"
import { checkLaws, noWorse, type LawName } from "../src/laws/index.ts"
import { fill } from "../src/laws/values.ts"

const error = (q: QuantizedFormat, x: Float32Array, shape: readonly [number, number], importance?: Float32Array): number =>
  q.decode(q.encode(x, shape, importance && { importance }), shape).reduce((s, v, i) => s + (x[i]! - v) ** 2 * (importance?.[i % shape[1]] ?? 1), 0)

describe("laws of ends that are searched for", () => {
  test("the squared error is no larger than over the whole, whichever columns matter, for every number of bits", async () => {
    for (const bits of [2, 3, 4, 8] as const)
      for (const range of ["symmetric", "asymmetric"] as const)
        expect((await checkLaws({ ...int(bits, { group: 7, range, ends: mse({ points: 12 }) }), laws: ["noWorse", "bound"], counterexamples: {} }, { fc, runs: 60 })).obeyed.map((o) => o.law)).toEqual(["noWorse", "bound"])
  })
  test("few codes for many values: less than the whole is far better", () => {
    const x = fill("gaussian", 3, [16, 128]), shape = [16, 128] as const
    expect(error(int(2, { group: 128, ends: mse() }), x, shape)).toBeLessThan(0.5 * error(int(2, { group: 128 }), x, shape))
    expect(error(int(8, { group: 128, ends: mse() }), x, shape)).toBeGreaterThan(0.8 * error(int(8, { group: 128 }), x, shape))
  })
  test("columns that matter more are rounded better", () => {
    const x = fill("heavy", 5, [8, 64]), shape = [8, 64] as const, importance = Float32Array.from({ length: 64 }, (_, i) => (i % 5 === 0 ? 100 : 0.01))
    const q = int(3, { group: 64, ends: mse() }), blind = q.decode(q.encode(x, shape), shape)
    expect(error(q, x, shape, importance)).toBeLessThan(blind.reduce((s, v, i) => s + (x[i]! - v) ** 2 * importance[i % 64]!, 0))
  })
  test("100 of a hundred is the whole, bit for bit", () => {
    const x = fill("heavy", 1, [3, 40])
    for (const range of ["symmetric", "asymmetric"] as const) expect(int(4, { group: 16, range, ends: percentile(100) }).encode(x, [3, 40])).toEqual(int(4, { group: 16, range }).encode(x, [3, 40]))
  })
  test("ends are where they are said to be: 90 of a hundred values keep their place, the others become the last code", () => {
    const x = Float32Array.from({ length: 100 }, (_, i) => (i % 2 ? -1 : 1) * (i + 1)), q = int(8, { scales: "f32", ends: percentile(90) }), back = q.decode(q.encode(x, [1, 100]), [1, 100])
    back.forEach((v, i) => expect(Math.abs(v)).toBeCloseTo(Math.min(90, i + 1), i < 90 ? -0.3 : 3))
  })
  // Migacz's point: one far outlier of many values is not worth a step of the others.
  test("an outlier among many is given up", () => {
    const x = fill("gaussian", 9, [1, 4000])
    x[17] = 200
    const [whole, cut] = [int(8), int(8, { ends: entropy() })].map((q) => q.decode(q.encode(x, [1, 4000]), [1, 4000])), rest = (back: Float32Array): number => back.reduce((s, v, i) => s + (i === 17 ? 0 : (x[i]! - v) ** 2), 0)
    expect(rest(cut!)).toBeLessThan(0.01 * rest(whole!))
    // As many bins as there are codes are the fewest: 128 of 2048.
    expect(cut![17]).toBeCloseTo(200 / 16, 1)
  })
})

describe("what they do not promise, each with what breaks it", () => {
  test.each<[QuantizedFormat, LawName, Counterexample]>([
    // What is given up costs more than finer steps bring: squared errors are not what these two look at.
    [int(4, { group: 20, ends: percentile(90) }), "noWorse", { values: [1, 0, 0, 0, 0, 0, 0, 0, 0, 0] }],
    [int(4, { group: 24, ends: entropy({ bins: 64 }) }), "noWorse", { values: [32, 1, 1, 1, 4, 0.00391] }],
    // The second time, there is less to cut.
    [int(4, { group: 20, ends: percentile(90) }), "idempotent", { values: [1, 0, 0, 0, 0, 0, 0, 0, 0, 0] }],
    // As without a search: both ends lie half a step off.
    [int(4, { group: 5, range: "asymmetric", ends: mse({ points: 20 }) }), "sign", { values: [2, -2] }],
    [int(4, { group: 5, range: "asymmetric", ends: mse({ points: 20 }) }), "idempotent", { values: [13, -13] }],
  ])("%o: %s", async ({ name, ...q }, law, values) => {
    const report = await checkLaws({ ...q, name, plain: int(4, { group: q.group }), laws: [], counterexamples: { [law]: values } }, { fc })
    expect(report.notObeyed.map((n) => n.law)).toEqual([law])
  })
  test("a format without a search has nothing to compare with", () =>
    expect(noWorse.broken(int(4), { values: Float32Array.of(1), shape: [1, 1], pick: 0 })).toEqual({ problem: "it does not say what it is without a search" }))
})

// Codes and zeros follow from the scale that is stored, f32 ones, too: whatever rounding takes from it is not lost twice.
test.each(["f32", "f16", "bf16"] as const)("scales in %s: every value is the nearest of those that its stored scale gives", (scales) => {
  for (const range of ["symmetric", "asymmetric"] as const)
    for (const ends of ["whole", mse()] as const) {
      const q = int(8, { group: 5, scales, range, ends }), x = fill("gaussian", 11, [40, 25]), { grids } = q, fit = grids!.fit(Float64Array.from(x.subarray(0, 5)))
      expect(grids!.step!(fit.scale)).toBe(fit.scale)
      const stored = q.encode(x, [40, 25]), packed = grids!.pack(Uint8Array.of(0), Float64Array.of(fit.scale), Uint8Array.of(fit.zero), [1, 1])
      expect(stored.scales!.data[0]).toBe(packed.scales!.data[0])
      expect(decode(scales, packed.scales!.data[0]!)).toBe(fit.scale)
    }
})

test("what cannot be meant is refused", () => {
  expect(() => percentile(50)).toThrow("percentile: p must be above 50 and up to 100, got 50")
  expect(() => mse({ points: 1 })).toThrow("mse: points must be a whole number ≥ 2, got 1")
  expect(() => entropy({ least: 0 })).toThrow("entropy: least must be a share above 0 and up to 1, got 0")
  expect(() => int(4, { ends: "all" as "whole" })).toThrow("int: ends must be whole, or what mse(), percentile() or entropy() give, got all")
  const q = int(4, { ends: mse() })
  expect(() => q.errorBound(q.encode(Float32Array.of(1), [1, 1]), [1, 1])).toThrow("errorBound: int4 mse may leave values beyond its codes; pass the values that were encoded")
  expect(() => q.encode(Float32Array.of(1, 2), [1, 2], { importance: Float32Array.of(1) })).toThrow("int: 1 importances for 2 columns")
})
