import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { bf16Bits, bf16Value, f16Bits, f16Value, quantizeWeight, take, tensor } from "@thimble/core"
import { bitmask, blocks, csr, nOfM, type MatrixShape, type SparseFormat, type SparseValues } from "../src/index.ts"
import { blockElements } from "@thimble/formats"

const kinds: Readonly<Record<string, (values: SparseValues) => SparseFormat>> = {
  csr: (values) => csr({ values }), bitmask: (values) => bitmask({ values }), "2:4": (values) => nOfM(2, 4, { values }), "3:8": (values) => nOfM(3, 8, { values }), "1:32": (values) => nOfM(1, 32, { values }),
  "blocks 4x4": (values) => blocks([4, 4], { values }), "blocks 3x2": (values) => blocks([3, 2], { values }), "blocks 1x7": (values) => blocks([1, 7], { values }),
}
/** What a value becomes, given the largest of its row. */
const stored: Readonly<Record<SparseValues, (v: number, amax: number) => number>> = {
  f32: (v) => v, f16: (v) => f16Value(f16Bits(v)), bf16: (v) => bf16Value(bf16Bits(v)),
  int8: (v, amax) => onSteps(v, Math.fround(amax / 127)), int4: (v, amax) => onSteps(v, Math.fround(amax / 7)),
}
const onSteps = (v: number, s: number): number => { const q = v / s, low = Math.floor(q), d = q - low; return Math.fround((d < 0.5 || (d === 0.5 && low % 2 === 0) ? low : low + 1) * s) }

const sparse = (name: string): fc.Arbitrary<readonly [Float32Array, MatrixShape]> => fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }), fc.constantFrom(0, 0.1, 0.5, 1), fc.integer()).map(([rows, c, share, seed]) => {
  const m = /^\d+:(\d+)$/.exec(name), columns = m ? c * Number(m[1]) : c * 17, most = m ? Number(name.split(":")[0]) : Infinity
  let state = seed >>> 0
  const next = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32
  const values = Float32Array.from({ length: rows * columns }, () => (next() < share ? next() - 0.5 : 0))
  if (m) for (let i = 0, filled = 0; i < values.length; i++) { if (i % Number(m[1]) === 0) filled = 0; if (values[i] !== 0 && ++filled > most) values[i] = 0 }
  return [values, [rows, columns]] as const
})

for (const [name, make] of Object.entries(kinds))
  describe(name, () => {
    for (const kind of Object.keys(stored) as SparseValues[])
      test(`${kind}: decoding gives what was stored, zeros exactly, and bytes are what the formula says`, async () => {
        await fc.assert(fc.asyncProperty(sparse(name), async ([values, shape]) => {
          const format = make(kind), weight = quantizeWeight(format, values, shape), [rows, columns] = shape
          const amax = Array.from({ length: rows }, (_, r) => values.subarray(r * columns, (r + 1) * columns).reduce((m, v) => Math.max(m, Math.abs(v)), 0))
          const got = await weight.dense().data(), wanted = values.map((v, i) => (v === 0 ? 0 : stored[kind](v, amax[Math.floor(i / columns)]!)))
          expect([...got]).toEqual([...wanted])
          const kept = Uint8Array.from(values, (v) => Number(v !== 0)), block = /^blocks (\d+)x(\d+)/.exec(name)
          const elements = block ? blockElements(kept, shape, [Number(block[1]), Number(block[2])]) : kept.reduce((a, b) => a + b, 0)
          expect(weight.bytes).toBe(format.storedBytes(shape, elements))
        }), { numRuns: 25 })
      })
    test("rows are looked up, and columns in another order", async () => {
      const [values, shape] = fc.sample(sparse(name), { numRuns: 1, seed: 5 })[0]!, weight = quantizeWeight(make("f32"), values, shape)
      const last = shape[1] - 1, got = await take(weight.rows(tensor(Int32Array.of(shape[0] - 1, 0))), tensor(Int32Array.of(last, 0)), 1).data()
      expect([...got]).toEqual([values[values.length - 1], values[(shape[0] - 1) * shape[1]], values[last], values[0]])
    })
  })

test("a run with more elements than N is refused, and rows that runs do not fit", () => {
  expect(() => quantizeWeight(nOfM(2, 4), Float32Array.of(1, 2, 3, 0), [1, 4])).toThrow(/3 elements/)
  expect(() => quantizeWeight(nOfM(2, 4), Float32Array.of(1, 2), [1, 2])).toThrow(/multiples of 4/)
})
