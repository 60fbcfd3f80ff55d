import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { f16Value, quantizeWeight, tensor, ThimbleError } from "@thimble/core"
import { int } from "../src/index.ts"

const bits = fc.constantFrom(2, 3, 4, 5, 6, 7, 8) as fc.Arbitrary<4>
const group = fc.constantFrom(Infinity, 1, 5, 32, 33)
const shape = fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 70 }))
const matrix = shape.chain(([r, c]) => fc.tuple(fc.constant([r, c] as [number, number]),
  fc.array(fc.float({ noNaN: true, min: Math.fround(-1e4), max: Math.fround(1e4) }), { minLength: r * c, maxLength: r * c }).map((v) => Float32Array.from(v))))

describe("laws of the symmetric integers", () => {
  test("|w − ŵ| ≤ s/2 within the range that f16 scales reach, and half a step of scale rounding beyond", () =>
    fc.assert(fc.asyncProperty(bits, group, matrix, async (b, g, [[r, c], w]) => {
      const format = int(b, { group: g })
      const scales = format.encode(w, [r, c]).scales!
      const back = await quantizeWeight(format, w, [r, c]).dense().data()
      const size = Math.min(g, c), groups = Math.ceil(c / size), largest = 2 ** (b - 1) - 1
      w.forEach((v, i) => {
        const s = f16Value(scales.data[Math.floor(i / c) * groups + Math.floor((i % c) / size)]!)
        // An f16 scale may be up to 2⁻¹¹ too small (or 2⁻²⁵ in absolute terms): the largest element then clips.
        const bound = s / 2 + Math.abs(v) * 2 ** -11 + largest * 2 ** -25 + Math.abs(v) * 2 ** -22
        expect(Math.abs(v - back[i]!)).toBeLessThanOrEqual(bound)
      })
    }), { numRuns: 60 }))

  test("zeros stay zeros, and the sign turns with the weights", () =>
    fc.assert(fc.asyncProperty(bits, group, matrix, async (b, g, [[r, c], w]) => {
      const format = int(b, { group: g })
      const plus = await quantizeWeight(format, w, [r, c]).dense().data()
      const minus = await quantizeWeight(format, w.map((v) => -v), [r, c]).dense().data()
      plus.forEach((v, i) => {
        expect(minus[i]! + v).toBe(0)
        if (w[i] === 0) expect(Object.is(v, 0)).toBe(true)
      })
    }), { numRuns: 60 }))

  test("a group's codes depend on that group alone", () => {
    const w = Float32Array.from({ length: 96 }, (_, i) => Math.sin(i))
    const changed = w.map((v, i) => (i < 32 ? 5 * v : v))
    const [a, b] = [w, changed].map((v) => int(4, { group: 32 }).encode(v, [1, 96]).codes!.data)
    expect(a!.slice(16)).toEqual(b!.slice(16))
  })
})

test("stored sizes are what the format says", () => {
  const w = new Float32Array(8 * 256)
  for (const [format, want] of [[int(8), 8 * 256 + 8 * 2], [int(4, { group: 32 }), (8 * 256) / 2 + 8 * 8 * 2], [int(8, { group: 64 }), 8 * 256 + 8 * 4 * 2]] as const)
    expect(quantizeWeight(format, w, [8, 256]).bytes).toBe(want)
})

test("rows are looked up without decoding the rest, and products read packed codes", async () => {
  const w = Float32Array.from({ length: 6 * 40 }, (_, i) => Math.cos(i))
  const weight = quantizeWeight(int(4, { group: 20 }), w, [6, 40])
  const dense = await weight.dense().data()
  expect([...await weight.rows(tensor([4, 1], { dtype: "i32" })).data()]).toEqual([...dense.slice(160, 200), ...dense.slice(40, 80)])
  const x = Float32Array.from({ length: 40 }, (_, i) => i - 20)
  const y = await weight.apply(tensor(x, { shape: [1, 40] })).data()
  for (let r = 0; r < 6; r++) expect(y[r]).toBeCloseTo(x.reduce((s, v, i) => s + v * dense[r * 40 + i]!, 0), 3)
})

test("what cannot be stored is refused, with its place", () => {
  expect(() => int(9 as 8)).toThrow("int: bits must be a whole number from 1 to 8, got 9")
  expect(() => int(4, { group: 0 })).toThrow("int: group must be a whole number ≥ 1, got 0")
  expect(() => int(4).encode(Float32Array.of(1, NaN), [2, 1])).toThrow("int: row 1, column 0 is NaN; quantize finite weights")
  expect(() => int(2).encode(Float32Array.of(1e6), [1, 1])).toThrow(ThimbleError)
})
