import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { ema, entropy, histogram, minMax, mse, percentile, type Observer, type ObserverOptions } from "../src/index.ts"
import { allKinds, fill, shuffled } from "../src/laws/values.ts"

const data = fc.tuple(fc.constantFrom(...allKinds), fc.integer(), fc.integer({ min: 1, max: 400 })).map(([kind, seed, n]) => fill(kind, seed, [1, n]))
const codes = fc.record({ bits: fc.constantFrom(2, 4, 8), range: fc.constantFrom("symmetric", "asymmetric") }) as fc.Arbitrary<Required<ObserverOptions>>
const observers: Readonly<Record<string, (o: ObserverOptions) => Observer>> = {
  minMax, percentile: (o) => histogram(percentile(90), { ...o, bins: 256 }), mse: (o) => histogram(mse(), { ...o, bins: 256 }), entropy: (o) => histogram(entropy({ bins: 64 }), { ...o, bins: 256 }),
}
const after = (observer: Observer, ...batches: readonly Float32Array[]): ReturnType<Observer["range"]> => {
  for (const batch of batches) observer.add(batch)
  return observer.range()
}
/** Σ(x − x̂)² with what an observer found. */
const error = (x: Float32Array, { bits, range }: Required<ObserverOptions>, { scale, zero }: ReturnType<Observer["range"]>): number => {
  const most = range === "symmetric" ? 2 ** (bits - 1) - 1 : 2 ** bits - 1, least = range === "symmetric" ? -most : 0
  return x.reduce((s, v) => s + (v - (Math.min(most, Math.max(least, Math.round(v / scale) + zero)) - zero) * scale) ** 2, 0)
}

describe.each(Object.entries(observers))("%s", (_, make) => {
  test("neither the order of values and batches nor where batches are cut matters", () => fc.assert(fc.property(data, codes, fc.nat(), (x, o, seed) => {
    const turn = shuffled(x.length, seed), mixed = x.map((_, i) => x[turn[i]!]!), cut = seed % (x.length + 1)
    const observer = make(o), found = after(observer, mixed.subarray(0, cut), mixed.subarray(cut))
    expect(found).toEqual(after(make(o), x))
    expect(observer.seen).toBe(x.length)
  }), { numRuns: 60 }))
  test("ends lie within what was seen, zero between them", () => fc.assert(fc.property(data, codes, (x, o) => {
    const { low, high, scale } = after(make(o), x), whole = after(minMax(o), x)
    expect(low >= whole.low && low <= 0 && high >= 0 && high <= whole.high && scale > 0).toBe(true)
  }), { numRuns: 60 }))
  test("batches of powers of two more are the same batches in wider bins", () => {
    const x = fill("gaussian", 4, [1, 300]), o = { bits: 8, range: "symmetric" } as const, { low, high, scale } = after(make(o), x)
    expect(after(make(o), x.map((v) => 1024 * v))).toMatchObject({ low: 1024 * low, high: 1024 * high, scale: 1024 * scale })
  })
})

describe("by what they promise", () => {
  test("100 of a hundred is from the least to the largest value", () => fc.assert(fc.property(data, codes, (x, o) => {
    expect(after(histogram(percentile(100), o), x)).toEqual(after(minMax(o), x))
  }), { numRuns: 40 }))
  test("larger values make no percentile smaller, nor a running mean", () => fc.assert(fc.property(data, fc.integer(), (x, seed) => {
    const more = x.map((v, i) => (Math.abs(v) > 1e37 ? v : v + Math.abs(fill("heavy", seed + i, [1, 1])[0]!))), o = { bits: 8, range: "asymmetric" } as const
    for (const make of [() => histogram(percentile(75), o), () => ema({ ...o, weight: 0.2 })]) expect(after(make(), more, more).high).toBeGreaterThanOrEqual(after(make(), x, x).high)
  }), { numRuns: 60 }))
  test("the squared error with ends by squared error is at most that from least to largest, but for the width of bins", () => fc.assert(fc.property(data, codes, (x, o) => {
    const whole = after(minMax(o), x), most = Math.max(whole.high, -whole.low)
    const [a, b] = [error(x, o, after(histogram(mse(), o), x)), error(x, o, whole)]
    expect(Math.sqrt(a)).toBeLessThanOrEqual(Math.sqrt(b) * (1 + 1e-9) + (2 * Math.sqrt(x.length) * most) / 4096)
  }), { numRuns: 60 }))
  test("where zeros are all there is, and among others, they count for nothing in an entropy", () => {
    const x = fill("gaussian", 2, [1, 500]).map(Math.abs), o = { bits: 4, range: "asymmetric" } as const
    expect(after(histogram(entropy(), o), x, new Float32Array(9000))).toEqual(after(histogram(entropy(), o), x))
    expect(after(histogram(entropy(), o), new Float32Array(5))).toEqual({ low: 0, high: 0, scale: 1, zero: 0 })
  })
  test("an outlier among many activations is given up", () => {
    const x = fill("gaussian", 8, [1, 20000])
    x[100] = 500
    expect(after(minMax(), x).high).toBe(500)
    expect(after(histogram(percentile(99.9)), x).high).toBeLessThan(4)
    // The fewest bins are as many as there are codes: a sixteenth of the whole, or less with more bins.
    expect(after(histogram(entropy()), x).high).toBeLessThan(40)
    expect(after(histogram(entropy({ bins: 16384 }), { bins: 65536 }), x).high).toBeLessThan(8)
  })
})

// A later batch counts a hundredth unless told otherwise: the other way round gives another range.
test("a running mean depends on the order of batches", () => {
  const [a, b] = [Float32Array.of(1), Float32Array.of(3)]
  expect(after(ema({ weight: 0.25 }), a, b).high).toBe(1.5)
  expect(after(ema({ weight: 0.25 }), b, a).high).toBe(2.5)
})

test("what is no number is refused with its place, and leaves the observer as it was", () => {
  for (const make of Object.values(observers)) {
    const observer = make({ bits: 8 })
    observer.add(Float32Array.of(1, -2))
    const before = observer.range()
    expect(() => observer.add(Float32Array.of(7, NaN))).toThrow("value 1 of the batch is NaN")
    expect([observer.range(), observer.seen]).toEqual([before, 2])
  }
  expect(() => minMax({ bits: 9 as 8 })).toThrow("minMax: bits must be a whole number from 2 to 8, got 9")
})
