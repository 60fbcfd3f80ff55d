import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { fp, fp4, solveGptq, hessian, int, mx, nf4, permutedWeight, solvedWeight, ternary, type QuantizedFormat } from "../src/index.ts"
import { quantizeWeight, tensor } from "@thimble/core"
import { fill } from "../src/laws/values.ts"

const rows = 3, columns = 44, shape = [rows, columns] as const
const formats: QuantizedFormat[] = [
  ...([2, 3, 4, 5, 8] as const).map((bits) => int(bits, { group: 16 })), int(8), int(4, { group: 12, scales: "f32" }), int(3, { group: 11, scales: "bf16" }),
  ...([1, 2, 4, 7, 8] as const).map((bits) => int(bits, { group: 16, range: "asymmetric" })), int(4, { range: "asymmetric", scales: "f32" }),
  nf4({ group: 16 }), fp4({ group: 8 }), fp("e4m3"), fp("e2m1", { group: 16 }), fp("e3m2", { group: 16, scales: "f16" }), fp("e5m2", { group: "none" }), mx("e2m1"), mx("int8", { group: 16 }),
]
const named = formats.map((f) => [f.name, f] as const)
const weights = (seed: number): Float32Array => fill("gaussian", seed, shape)
function hessianOf(seed: number): Float64Array {
  const h = hessian(columns), x = fill("gaussian", seed, [60, columns])
  for (let i = 1; i < x.length; i++) if (i % columns) x[i] = x[i]! * 0.5 + x[i - 1]!
  h.add(x, 60)
  return h.matrix()
}

describe("what a solver rounds to a format is what the format stores", () => {
  test.each(named)("%s: the stored matrix is the solved one, exactly, whatever the order and the grids", async (_, format) => {
    for (const o of [{}, { order: "activity" }, { order: "activity", grids: "static" }] as const) {
      const found = solveGptq(weights(3), shape, hessianOf(4), { format, ...o }), stored = solvedWeight(format, shape, found)
      expect((await stored.dense().data() as Float32Array).map((v) => v + 0)).toEqual(Float32Array.from(found.values, (v) => v + 0))
    }
  })
  test.each(named)("%s: where inputs are unrelated it is what the format's encoder stores, byte for byte", (_, format) => fc.assert(fc.property(fc.integer({ min: 1, max: 1e6 }), (seed) => {
    const w = weights(seed), diagonal = new Float64Array(columns * columns)
    for (let i = 0; i < columns; i++) diagonal[i * columns + i] = 1 + ((i * 7) % 5)
    const { codes, scales, zeros } = solveGptq(w, shape, diagonal, { format })
    expect(format.grids!.pack(codes, scales, zeros, shape)).toEqual(format.encode(w, shape))
  }), { numRuns: 10 }))

  test("groups by activity are stored as neighbours under a permutation; products and look-ups do not show it", async () => {
    const format = int(4, { group: 8 }), found = solveGptq(weights(1), shape, hessianOf(2), { format, order: "activity" }), stored = solvedWeight(format, shape, found)
    expect(stored.form).toBe("permuted int4g8[3,44] f32")
    const x = tensor(fill("gaussian", 5, [2, columns]), { shape: [2, columns] }), y = await stored.apply(x).data(), want = await x.linear(stored.dense()).data()
    y.forEach((v, i) => expect(Math.abs(Number(v) - Number(want[i]!))).toBeLessThanOrEqual(1e-4))
    expect([...await stored.rows(tensor([2, 0], { dtype: "i32" })).data()].map((v) => Number(v) + 0)).toEqual([...found.values.slice(2 * columns), ...found.values.slice(0, columns)].map((v) => Math.fround(v) + 0))
    const again = stored.withParts(stored.parts()) as typeof stored
    expect(await again.dense().data()).toEqual(await stored.dense().data())
    expect(stored.bytes).toBe(format.storageBytes(shape) + 4 * columns)
  })
  test("an order that leaves a column out is refused, and so are formats whose scales are not a group's own", () => {
    const weight = quantizeWeight(int(4), weights(1), shape)
    expect(() => permutedWeight(weight, new Int32Array(columns))).toThrow("44 places do not hold each of 44 columns once")
    for (const format of [int(4, { group: "tensor" }), nf4({ absmax: "nested" }), ternary()])
      expect(() => solveGptq(weights(1), shape, hessianOf(1), { format })).toThrow(`${format.name} does not say how one value of a group is rounded`)
  })
})
