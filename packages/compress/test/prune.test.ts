import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { hessian, keptByRow, nf4, solveSparsegpt, wandaScores, type SparsegptOptions, type Sparsity } from "../src/index.ts"
import { dampedLosses } from "./damped-loss.ts"
import { ranked } from "../src/prune/sparsity.ts"
import { fill } from "../src/laws/values.ts"

const columns = 24, rows = 5, shape = [rows, columns] as const
const weights = (seed: number): Float64Array => Float64Array.from(fill("gaussian", seed, shape))
function hessianOf(seed: number): Float64Array {
  const h = hessian(columns), x = fill("gaussian", seed, [60, columns])
  for (let i = 1; i < x.length; i++) if (i % columns) x[i] = x[i]! * 0.5 + x[i - 1]!
  h.add(x, 60)
  return h.matrix()
}
const seeds = fc.integer({ min: 1, max: 1e6 })
const sparsities: fc.Arbitrary<Sparsity> = fc.constantFrom<Sparsity>(0.3, 0.5, 0.8, { keep: 2, of: 4 }, { keep: 4, of: 8 }, { keep: 1, of: 3 }, { keep: 0, of: 2 })
const options: fc.Arbitrary<SparsegptOptions> = sparsities.chain((sparsity) => fc.record({ sparsity: fc.constant(sparsity), block: fc.constantFrom(24, 48), damping: fc.constantFrom(0.01, 0.1) }))

describe("laws of SparseGPT", () => {
  test("the squared corrections are the loss, (w − ŵ)·H·(w − ŵ)ᵀ of each row, H damped; rounded or not", () => fc.assert(fc.property(seeds, options, fc.boolean(), (seed, o, rounded) => {
    const w = weights(seed), h = hessianOf(seed + 1), { values, loss, damping, kept } = solveSparsegpt(w, shape, h, { ...o, ...(rounded && { round: { bits: 4, group: 8 } }) })
    dampedLosses(w, values, h, damping, [rows, columns]).forEach((sum, r) => expect(Math.abs(sum - loss[r]!)).toBeLessThanOrEqual(1e-9 * Math.max(sum, 1e-6)))
    kept.forEach((k, i) => { if (k === 0) expect(Math.abs(values[i]!)).toBe(0) })
  }), { numRuns: 40 }))

  test("where inputs are unrelated the largest w²Hⱼⱼ of each block, or run of neighbours, stay, as they were", () => fc.assert(fc.property(seeds, options, (seed, o) => {
    const w = weights(seed), diagonal = new Float64Array(columns * columns)
    for (let i = 0; i < columns; i++) diagonal[i * columns + i] = 1 + ((i * 7) % 5)
    const mean = Array.from({ length: columns }, (_, i) => diagonal[i * columns + i]!).reduce((a, b) => a + b) / columns
    const { values, kept } = solveSparsegpt(w, shape, diagonal, o), scores = w.map((v, i) => v * v * (diagonal[(i % columns) * (columns + 1)]! + o.damping! * mean))
    values.forEach((v, i) => expect(v + 0).toBe(kept[i] ? w[i]! : 0))
    // All columns are one block.
    if (typeof o.sparsity === "number") {
      const gone = new Set([...scores.keys()].sort((a, b) => scores[a]! - scores[b]!).slice(0, Math.floor(scores.length * o.sparsity) + 1))
      kept.forEach((k, i) => expect(k).toBe(Number(!gone.has(i))))
    } else expect([...kept]).toEqual([...keptByRow(scores, shape, o.sparsity)])
  }), { numRuns: 40 }))

  test("four times H changes nothing; nothing removed changes nothing", () => fc.assert(fc.property(seeds, options, (seed, o) => {
    const w = weights(seed), h = hessianOf(seed)
    expect(solveSparsegpt(w, shape, h.map((v) => 4 * v), o).kept).toEqual(solveSparsegpt(w, shape, h, o).kept)
    expect(solveSparsegpt(w, shape, h, { ...o, sparsity: 0 }).values).toEqual(w)
  }), { numRuns: 20 }))

  test("what is removed and what is rounded are chosen in one pass, in any format", () => {
    const w = weights(5), h = hessianOf(6), format = nf4({ group: 8 }), found = solveSparsegpt(w, shape, h, { sparsity: { keep: 2, of: 4 }, round: { format } })
    found.kept.forEach((k, i) => { if (k === 0) expect(found.values[i]).toBe(0) })
    expect(found.rounded!.codes.length).toBe(rows * columns)
    const apart = solveSparsegpt(w, shape, h, { sparsity: { keep: 2, of: 4 } })
    expect(found.loss.reduce((a, b) => a + b)).toBeGreaterThan(apart.loss.reduce((a, b) => a + b))
  })
  test("patterns that do not fit are refused", () => {
    const w = weights(1), h = hessianOf(1)
    expect(() => solveSparsegpt(w, shape, h, { sparsity: { keep: 2, of: 5 } })).toThrow("blocks of 128 cut runs of 5")
    expect(() => solveSparsegpt(w, shape, h, { sparsity: 1 })).toThrow("a sparsity is from 0 up to 1, got 1")
    expect(() => solveSparsegpt(w, shape, h, { sparsity: { keep: 5, of: 4 } })).toThrow("cannot keep 5 of 4")
    expect(() => solveSparsegpt(w, shape, h, { sparsity: { keep: 2, of: 4 }, order: "activity" })).toThrow("not neighbours in the order of activity")
  })
})

describe("laws of scores and patterns", () => {
  test("Wanda: inputs twice as large change nothing; equal inputs are magnitude; a column's scores grow with its inputs", () => fc.assert(fc.property(seeds, sparsities, (seed, sparsity) => {
    const w = weights(seed), squares = Float64Array.from(fill("gaussian", seed, [1, columns]), (v) => v * v)
    const scores = wandaScores(w, shape, squares), twice = wandaScores(w, shape, squares.map((s) => 4 * s))
    expect(keptByRow(twice, shape, sparsity)).toEqual(keptByRow(scores, shape, sparsity))
    expect(keptByRow(wandaScores(w, shape, squares.map(() => 1)), shape, sparsity)).toEqual(keptByRow(w.map(Math.abs), shape, sparsity))
    wandaScores(w, shape, squares.map((s, j) => (j === 3 ? 9 * s : s))).forEach((v, i) => expect(Math.abs(v - scores[i]! * (i % columns === 3 ? 3 : 1))).toBeLessThanOrEqual(1e-14 * v))
  }), { numRuns: 30 }))
  test("counts are exact, and what stays scores no less than what goes", () => fc.assert(fc.property(seeds, sparsities, fc.integer({ min: 1, max: 11 }), (seed, sparsity, width) => {
    // Small whole numbers: many are equal.
    const scores = Float64Array.from(fill("gaussian", seed, [3, width]), (v) => Math.round(Math.abs(v)))
    const kept = keptByRow(scores, [3, width], sparsity), size = typeof sparsity === "number" ? width : sparsity.of
    for (let r = 0; r < 3; r++)
      for (let c = 0; c < width; c += size) {
        const run = [...Array(Math.min(size, width - c)).keys()].map((i) => r * width + c + i), gone = run.filter((i) => !kept[i]), stay = run.filter((i) => kept[i])
        expect(gone.length).toBe(typeof sparsity === "number" ? Math.floor(width * sparsity) : Math.max(0, run.length - sparsity.keep))
        for (const i of gone) for (const j of stay) expect(scores[i]! < scores[j]! || (scores[i] === scores[j] && i < j)).toBe(true)
      }
  }), { numRuns: 60 }))
  test("the value at a place of the sorted ones is found without sorting", () => fc.assert(fc.property(fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 60 }), fc.nat(), (values, n) => {
    const k = n % values.length
    expect(ranked(Float64Array.from(values), k)).toBe([...values].sort((a, b) => a - b)[k])
  })))
})
