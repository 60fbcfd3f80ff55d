import fc from "fast-check"
import { beforeAll, describe, expect, test } from "vitest"
import { memory } from "@thimble/core"
import { open } from "../../kernels/src/index.ts"
import { fitGrid, int, learnRounding, mse, nf4, solveAdaround, solvedWeight, type AdaroundOptions, type GridOptions } from "../src/index.ts"
import { calibrations } from "../src/laws/index.ts"
import { fill } from "../src/laws/values.ts"
import { layer, obeysCommonLaws, rows, total } from "./reconstruction.ts"

beforeAll(async () => void (await open("wasm", { threads: 1 })))

const given = layer(12), { columns, shape, weights, hessianOf, inputs } = given
const quadratic = (e: ArrayLike<number>, h: Float64Array): number => {
  let loss = 0
  for (let i = 0; i < e.length; i++) for (let j = 0; j < e.length; j++) loss += e[i]! * h[i * e.length + j]! * e[j]!
  return loss
}
const options = fc.record({
  bits: fc.constantFrom(1, 2, 3, 4), range: fc.constantFrom("symmetric", "asymmetric"), group: fc.constantFrom("row", 5, 8, 64), scales: fc.constantFrom("f64", "f16", "bf16"), ends: fc.constantFrom("whole", "search"), steps: fc.constantFrom(1, 30), rate: fc.constantFrom(0.02, 0.5),
}) as fc.Arbitrary<AdaroundOptions & GridOptions & { readonly group: number | "row" }>

describe("laws of AdaRound", () => {
  test("no row loses more than rounded to nearest; grids stay, and no code is more than one step from the nearest", () => fc.assert(fc.asyncProperty(fc.integer(), calibrations(fc, { columns }), options, async (seed, { values }, o) => {
    const w = weights(seed), h = hessianOf(values), found = await solveAdaround(w, shape, h, o), groups = found.scales.length / rows, size = o.group === "row" ? columns : Math.min(o.group, columns)
    for (let r = 0; r < rows; r++) {
      expect(found.loss[r]).toBeLessThanOrEqual(found.plainLoss[r]!)
      const loss = quadratic(Float64Array.from({ length: columns }, (_, c) => w[r * columns + c]! - found.values[r * columns + c]!), h)
      expect(Math.abs(loss - found.loss[r]!)).toBeLessThanOrEqual(1e-9 * Math.abs(loss) + 1e-12)
      for (let g = 0; g < groups; g++) {
        const from = r * columns + g * size, to = Math.min((r + 1) * columns, from + size), grid = fitGrid(w.slice(from, to), o)
        expect([found.scales[r * groups + g], found.zeros[r * groups + g]]).toEqual([grid.scale, grid.zero])
        for (let i = from; i < to; i++) {
          const t = w[i]! / grid.scale, top = 2 ** o.bits - 1, [down, up] = [0, 1].map((k) => Math.min(top, Math.max(0, Math.floor(t) + k + grid.zero)))
          // Rounded down or up; a row that is rounded to nearest is, too.
          expect([down, up]).toContain(found.codes[i]!)
          expect(found.values[i]).toBe((found.codes[i]! - grid.zero) * grid.scale)
        }
      }
    }
  }), { numRuns: 25 }))

  test("where columns do not know of each other, nearest is best: diagonal H", () => fc.assert(fc.asyncProperty(fc.integer(), options, async (seed, o) => {
    const h = new Float64Array(columns ** 2)
    for (let i = 0; i < columns; i++) h[i * (columns + 1)] = 1 + (i % 3)
    const found = await solveAdaround(weights(seed), shape, h, o)
    expect(found.loss).toEqual(found.plainLoss)
  }), { numRuns: 10 }))

  obeysCommonLaws(solveAdaround, given, { options, steps: 50 })
})

// No law for any one row: it goes downhill from where the weights are.
test("over many rows it comes close to the best of all ways to round up or down, which can be counted out for few columns", async () => {
  const n = 8, many = 24
  let plain = 0, found = 0, least = 0
  for (let seed = 1; seed <= 3; seed++) {
    const w = Float64Array.from(fill("gaussian", seed, [many, n])), h = hessianOf(inputs(seed + 10, n), n), own = await solveAdaround(w, [many, n], h, { bits: 3 })
    plain += total(own.plainLoss)
    found += total(own.loss)
    for (let r = 0; r < many; r++) {
      const { [r]: scale } = own.scales, { [r]: zero } = own.zeros
      let best = Infinity
      for (let ways = 0; ways < 2 ** n; ways++) {
        const e = Float64Array.from({ length: n }, (_, c) => w[r * n + c]! - (Math.min(7, Math.max(0, Math.floor(w[r * n + c]! / scale!) + ((ways >> c) & 1) + zero!)) - zero!) * scale!)
        best = Math.min(best, quadratic(e, h))
      }
      expect(own.loss[r]).toBeGreaterThan(best * (1 - 1e-9))
      least += best
    }
  }
  expect(found).toBeLessThan(0.2 * plain)
  expect(found).toBeLessThan(1.5 * least)
})

test.each([int(3, { group: 8 }), int(4), int(2, { group: 5, range: "asymmetric", scales: "bf16" }), int(4, { group: 6, ends: mse() })].map((f) => [f.name, f] as const))("%s: what was found is stored as it is, on the grids of the format", async (_, format) => {
  const w = Float32Array.from(weights(3)), found = await solveAdaround(w, shape, hessianOf(inputs(3)), { format, steps: 100 }), plain = format.decode(format.encode(w, shape), shape)
  expect([...await solvedWeight(format, shape, found).dense().data()]).toEqual([...found.values])
  expect(total(found.loss)).toBeLessThan(0.9 * total(found.plainLoss))
  found.values.forEach((v, i) => expect(Math.abs(v - plain[i]!)).toBeLessThanOrEqual(found.scales[Math.floor(i / columns) * (found.scales.length / rows) + found.groupOf[i % columns]!]! * (1 + 1e-6)))
})

test("a group of zeros, whose scale is 0, does not keep its row from being searched", async () => {
  const w = Float32Array.from(weights(4)), h = hessianOf(inputs(4)), format = int(3, { group: 4 })
  for (let r = 0; r < rows; r++) w.fill(0, r * columns + 4, r * columns + 8)
  for (const found of [await solveAdaround(w, shape, h, { format, steps: 100 }), await learnRounding(w, shape, h, { format, steps: 40 })]) {
    for (let r = 0; r < rows; r++) expect([...found.values.subarray(r * columns + 4, r * columns + 8)]).toEqual([0, 0, 0, 0])
    expect(total(found.loss)).toBeLessThan(0.9 * total(found.plainLoss))
  }
})

test("progress, an end to it, nothing that stays in memory, and what is refused", async () => {
  const seen: [number, number][] = [], w = weights(5), h = hessianOf(inputs(5)), control = new AbortController()
  await solveAdaround(w, shape, h, { bits: 3, steps: 2 })
  const held = memory().bytes
  const { plainLoss } = await solveAdaround(w, shape, h, { bits: 3, steps: 40, onProgress: ({ step, loss }) => void seen.push([step, loss]) })
  expect(seen.map(([step]) => step)).toEqual([0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40])
  // It begins with the weights as they are: nothing is lost before anything is decided, but for what lies beyond the last codes.
  expect(seen[0]![1]).toBeLessThan(0.5 * total(plainLoss))
  await expect(solveAdaround(w, shape, h, { bits: 3, steps: 40, signal: control.signal, onProgress: ({ step }) => step === 8 && control.abort() })).rejects.toThrow("aborted")
  expect(memory().bytes).toBe(held)
  await expect(solveAdaround(w, shape, h.with(3, NaN), { bits: 3 })).rejects.toThrow("adaround: element of H at row 0, column 3 is NaN; calibrate with inputs that do not overflow")
  await expect(solveAdaround(w, shape, h, { format: nf4() })).rejects.toThrow("adaround: nf4 has no evenly spaced codes in groups of a row; int does")
  expect((await solveAdaround(new Float64Array(0), [0, columns], h, { bits: 3 })).codes).toHaveLength(0)
})
