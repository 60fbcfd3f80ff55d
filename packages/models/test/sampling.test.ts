import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { draws } from "../src/generate/draws.ts"
import { nextToken, pick, type SamplingOptions } from "../src/generate/sampling.ts"

/** Rows with equal logits, tokens that cannot be, and a wide range. */
const logits = fc.array(fc.oneof(fc.double({ min: -30, max: 30, noNaN: true }), fc.integer({ min: -2, max: 2 }), fc.constant(-Infinity)), { minLength: 1, maxLength: 60 })
  .filter((row) => row.some((v) => v > -Infinity)).map((row) => Float32Array.from(row))
const temperature = fc.double({ min: 0.05, max: 3, noNaN: true })
const options = fc.record({
  temperature, topK: fc.integer({ min: 1, max: 70 }), topP: fc.double({ min: 0.01, max: 1, noNaN: true }), minP: fc.double({ min: 0, max: 1, noNaN: true }),
  repetitionPenalty: fc.double({ min: 0.5, max: 2, noNaN: true }),
}, { requiredKeys: ["temperature"] })
const sum = (x: Iterable<number>): number => [...x].reduce((a, b) => a + b, 0)
/** Ids from most to least probable, equal ones in order. */
const order = (row: Float32Array): number[] => [...row.keys()].filter((i) => row[i]! > -Infinity).sort((a, b) => row[b]! - row[a]! || a - b)
const best = (row: Float32Array): number => order(row)[0]!
const softmax = (row: Float32Array, t: number): number[] => {
  const most = Math.max(...row), e = Array.from(row, (v) => Math.exp((v - most) / t)), total = sum(e)
  return e.map((v) => v / total)
}

describe("what a token is drawn from", () => {
  test("probabilities of different tokens, ids ascending, that add up to 1; never one at −∞; the most probable is always there", () => {
    fc.assert(fc.property(logits, options, (row, o) => {
      const before = row.slice(), { ids, probabilities } = nextToken(row, o)
      expect(sum(probabilities)).toBeCloseTo(1, 12)
      expect([...ids]).toEqual([...new Set(ids)].sort((a, b) => a - b))
      for (const id of ids) expect(row[id]).toBeGreaterThan(-Infinity)
      expect(ids).toContain(best(row))
      expect(row).toEqual(before)
    }))
  })
  test("temperature alone is the softmax of logits ÷ temperature", () => {
    fc.assert(fc.property(logits, temperature, (row, t) => {
      const { ids, probabilities } = nextToken(row, { temperature: t }), p = softmax(row, t)
      expect([...ids]).toEqual([...row.keys()].filter((i) => row[i]! > -Infinity))
      ids.forEach((id, i) => expect(probabilities[i]).toBeCloseTo(p[id]!, 12))
    }))
  })
  test("temperature 0 and k = 1 are the first of the most probable tokens", () => {
    fc.assert(fc.property(logits, options, (row, o) => {
      for (const one of [{ ...o, temperature: 0 }, { ...o, topK: 1 }]) expect([...nextToken(row, one).ids]).toEqual([best(row)])
    }))
  })
  test("top-k keeps the k most probable, of equal ones the first", () => {
    fc.assert(fc.property(logits, temperature, fc.integer({ min: 1, max: 70 }), (row, t, topK) => {
      expect([...nextToken(row, { temperature: t, topK }).ids]).toEqual(order(row).slice(0, topK).sort((a, b) => a - b))
    }))
  })
  test("top-p keeps the smallest set of most probable tokens that reaches p", () => {
    fc.assert(fc.property(logits, temperature, fc.double({ min: 0.01, max: 1, noNaN: true }), (row, t, topP) => {
      const p = softmax(row, t), kept = [...nextToken(row, { temperature: t, topP }).ids]
      const n = kept.length, leading = order(row).map((id) => p[id]!)
      expect(kept.map((id) => p[id]!).sort((a, b) => b - a)).toEqual(leading.slice(0, n).sort((a, b) => b - a))
      expect(sum(leading.slice(0, n))).toBeGreaterThanOrEqual(topP - 1e-9)
      expect(sum(leading.slice(0, n - 1))).toBeLessThan(topP + 1e-9)
    }))
  })
  test("top-p takes of equal tokens the first, and no more than it needs", () => {
    expect([...nextToken(Float32Array.of(0, 0, 0, 0), { temperature: 1, topP: 0.5 }).ids]).toEqual([0, 1])
    expect([...nextToken(Float32Array.of(0, 0, 0, 0), { temperature: 1, topP: 0.51 }).ids]).toEqual([0, 1, 2])
  })
  test("min-p keeps tokens at least that share of the most probable one, which temperature decides", () => {
    fc.assert(fc.property(logits, temperature, fc.double({ min: 1e-3, max: 1, noNaN: true }), (row, t, minP) => {
      const most = row[best(row)]!, kept = new Set(nextToken(row, { temperature: t, minP }).ids)
      row.forEach((v, id) => {
        const share = Math.exp((v - most) / t)
        if (Math.abs(share - minP) > 1e-9) expect(kept.has(id)).toBe(share > minP)
      })
    }))
  })
  test("top-p counts shares of what top-k left, and min-p comes last", () => {
    const row = Float32Array.from([0.4, 0.3, 0.2, 0.1], Math.log)
    expect([...nextToken(row, { temperature: 1, topP: 0.5 }).ids]).toEqual([0, 1])
    expect([...nextToken(row, { temperature: 1, topP: 0.5, topK: 2 }).ids]).toEqual([0])
    expect([...nextToken(row, { temperature: 1, topP: 0.9, minP: 0.6 }).ids]).toEqual([0, 1])
  })
  test("the repetition penalty divides positive logits and multiplies negative ones, once per token that was there", () => {
    const seen: Float32Array[] = []
    nextToken(Float32Array.of(2, -2, 2, -2), { repetitionPenalty: 2, processors: [(row) => { seen.push(row.slice()) }] }, { ids: [0, 0, 1, 0], promptLength: 1 })
    expect(seen).toEqual([Float32Array.of(1, -4, 2, -2)])
  })
  test("processors run in turn, before temperature, and see the tokens so far", () => {
    const row = Float32Array.of(0, 1, 2), sofar = { ids: [7, 8], promptLength: 1 }
    const o: SamplingOptions = { temperature: 2, processors: [(l, s) => { expect(s).toBe(sofar); l[2] = -Infinity }, (l) => { l[0]! += 1 }] }
    expect(nextToken(row, o, sofar)).toEqual({ ids: Int32Array.of(0, 1), probabilities: Float64Array.of(0.5, 0.5) })
  })
  test("what cannot be drawn from is refused, and so are options out of range", () => {
    expect(() => nextToken(Float32Array.of(0, NaN))).toThrow("generate: the logit of token 1 is NaN")
    expect(() => nextToken(Float32Array.of(-Infinity, -Infinity))).toThrow("generate: no token is left to choose from")
    expect(() => nextToken(Float32Array.of(0), { temperature: -1 })).toThrow("temperature must be a number ≥ 0, got -1")
    for (const [o, problem] of [[{ topK: 0 }, "topK"], [{ topP: 0 }, "topP"], [{ minP: 1.5 }, "minP"], [{ repetitionPenalty: 0 }, "repetitionPenalty"], [{ seed: 0.5 }, "seed"], [{ temperature: NaN }, "temperature"]] as const)
      expect(() => nextToken(Float32Array.of(0), o)).toThrow(problem)
  })
})

describe("draws", () => {
  test("tokens come as often as their probabilities say", async () => {
    const row = Float32Array.from([0.5, 0.25, 0.15, 0.08, 0.02], Math.log), n = 20_000
    const from = nextToken(row, { temperature: 1, topK: 4 }), next = draws(3, 0), counts = new Map<number, number>()
    for (let i = 0; i < n; i++) {
      const id = from.ids[pick(from, await next())]!
      counts.set(id, (counts.get(id) ?? 0) + 1)
    }
    const chi2 = sum(Array.from(from.ids, (id, i) => (counts.get(id)! - n * from.probabilities[i]!) ** 2 / (n * from.probabilities[i]!)))
    // Three degrees of freedom: above 16.3 once in a thousand seeds.
    expect(chi2).toBeLessThan(16.3)
    expect(counts.has(4)).toBe(false)
  })
  test("equal seeds give equal numbers, other seeds and rows others; known ones do not change", async () => {
    const take = async (seed: number | bigint, row: number): Promise<number[]> => {
      const next = draws(seed, row), out: number[] = []
      for (let i = 0; i < 300; i++) out.push(await next())
      return out
    }
    const a = await take(1, 0)
    expect(await take(1n, 0)).toEqual(a)
    for (const x of a) expect(x >= 0 && x < 1).toBe(true)
    expect(new Set([...a, ...(await take(2, 0)), ...(await take(1, 1))]).size).toBe(900)
  })
  test("every number below 1 finds a token, the last one where rounding left the sum below it", () => {
    const d = { ids: Int32Array.of(3, 5, 9), probabilities: Float64Array.of(0.25, 0.75 - 1e-12, 0) }
    expect([0, 0.2499, 0.25, 1 - 2 ** -53].map((at) => d.ids[pick(d, at)])).toEqual([3, 3, 5, 5])
  })
})
