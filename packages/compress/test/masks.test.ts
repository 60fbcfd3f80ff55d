import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { block, columns, erk, globally, keepOf, magnitude, owl, randomScore, rows, unstructured, wandaScores, type SparsityPattern, type Spreadable } from "../src/index.ts"
import { maskLaws } from "../src/laws/index.ts"

const shares = fc.constantFrom(0, 0.1, 0.29, 0.5, 0.7, 0.9, 1)
const patterns: fc.Arbitrary<SparsityPattern> = fc.oneof(
  fc.tuple(shares, fc.constantFrom("matrix" as const, "row" as const)).map(([s, within]) => unstructured(s, { within })), shares.map(rows), shares.map(columns),
  fc.tuple(fc.constantFrom([2, 2], [1, 4], [3, 5], [4, 1]), shares, fc.constantFrom("matrix" as const, "row" as const)).map(([b, s, within]) => block(b as unknown as [number, number], s, { within })),
  fc.constantFrom([2, 4], [4, 8], [1, 3], [0, 2], [3, 3]).map(([n, m]) => keepOf(n!, m!)),
)
/** Small whole numbers, so that sums are exact and many are equal. */
const cases = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 20 })).chain(([r, c]) => fc.array(fc.integer({ min: 1, max: 40 }), { minLength: r * c, maxLength: r * c }).map((s) => ({ scores: Float64Array.from(s), shape: [r, c] as const })))

describe("laws of patterns", () => {
  for (const law of maskLaws) test(`${law.name}: ${law.statement}`, () => fc.assert(fc.property(patterns, cases, (pattern, c) => { expect(law.broken(pattern, c), pattern.name).toBeUndefined() }), { numRuns: 200 }))
  test("a pattern that keeps the least breaks one", () => {
    const upside: SparsityPattern = { ...unstructured(0.5), kept: (s, shape) => unstructured(0.5).kept(s.map((v) => -v), shape) }
    expect(maskLaws.map((l) => l.broken(upside, { scores: Float64Array.of(1, 2, 3, 4), shape: [1, 4] })).filter((b) => b !== undefined)).not.toEqual([])
  })
  test("a share is meant as the fraction that it is near", () => expect(unstructured(0.29).keeps([1, 100])).toBe(71))
})

describe("laws of Wanda", () => {
  const matrix = fc.array(fc.float({ noNaN: true, min: -4, max: 4 }), { minLength: 12, maxLength: 12 }).map((v) => Float32Array.from(v)), squares = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 4, maxLength: 4 })
  const mask = (w: Float32Array, s: readonly number[]): Uint8Array => unstructured(0.5, { within: "row" }).kept(wandaScores(w, [3, 4], s), [3, 4])
  test("inputs in other units choose the same", () => fc.assert(fc.property(matrix, squares, (w, s) => { expect(mask(w, s.map((v) => 16 * v))).toEqual(mask(w, s)) })))
  test("of inputs that are equally large the largest weights stay", () => fc.assert(fc.asyncProperty(matrix, fc.integer({ min: 1, max: 50 }), async (w, v) => {
    expect(mask(w, [v * v, v * v, v * v, v * v])).toEqual(unstructured(0.5, { within: "row" }).kept(await magnitude().of({ path: "", values: w, shape: [3, 4] }, undefined, undefined), [3, 4]))
  })))
  test("an input c times as large multiplies the scores of its column by c", () => fc.assert(fc.property(matrix, squares, fc.constantFrom(2, 8), (w, s, c) => {
    const before = wandaScores(w, [3, 4], s), after = wandaScores(w, [3, 4], s.map((v, j) => (j === 2 ? v * c * c : v)))
    before.forEach((v, i) => expect(after[i]).toBe(i % 4 === 2 ? c * v : v))
  })))
})

describe("spreads", () => {
  const many = <M>(measured: (i: number) => M): Spreadable<M>[] => [[8, 8], [8, 64], [40, 64]].map(([r, c], i) => ({ path: `m${i}`, shape: [r!, c!] as const, layer: i, measured: measured(i) }))
  const total = (all: readonly Spreadable<unknown>[], shares: readonly number[]): number => all.reduce((n, { shape: [r, c] }, i) => n + r * c * shares[i]!, 0) / all.reduce((n, { shape: [r, c] }) => n + r * c, 0)
  test("one threshold: what goes has the least scores of all matrices, and as much goes as was asked", () => fc.assert(fc.property(fc.integer(), fc.constantFrom(0, 0.1, 0.5, 0.99, 1), (seed, share) => {
    const all = many((i) => randomScore(seed).of({ path: String(i), values: new Float32Array([64, 512, 2560][i]!), shape: [1, 1] }, undefined, undefined) as Float64Array).map((m, i) => ({ ...m, measured: m.measured.map((v) => Math.floor(v * (20 * (i + 1)))) }))
    const own = globally().shares(all, share), gone = all.map(({ measured }, i) => Math.round(own[i]! * measured.length))
    expect(gone.reduce((a, b) => a + b)).toBe(Math.floor(share * 3136))
    const kept = all.flatMap(({ measured, shape }, i) => { const k = unstructured(own[i]!).kept(measured, shape); return [...measured].map((s, j) => [s, k[j]!] as const) })
    expect(Math.max(-1, ...kept.filter(([, k]) => k === 0).map(([s]) => s))).toBeLessThanOrEqual(Math.min(Infinity, ...kept.filter(([, k]) => k === 1).map(([s]) => s)))
  }), { numRuns: 30 }))
  test.each([0.1, 0.5, 0.9, 0.98])("ERK: %s goes in all, more of what is larger, and none below 0", (share) => {
    const all = many(() => undefined), own = erk().shares(all, share)
    expect(total(all, own)).toBeCloseTo(share, 9)
    expect(own.every((s, i) => s >= 0 && (i === 0 || s >= own[i - 1]!))).toBe(true)
  })
  test("OWL: the share stays the mean, layers with more outliers lose less, none more than it may", () => {
    const all = many((i) => [0, 5, 400][i]!), own = owl({ most: 0.05 }).shares(all, 0.6)
    expect(total(all, own)).toBeCloseTo(0.6, 9)
    expect(own[2]).toBeLessThan(own[0]!)
    expect(Math.max(...own) - Math.min(...own)).toBeLessThanOrEqual(0.1 + 1e-12)
  })
})
