import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { schedule, ThimbleError, type Schedule } from "../src/index.ts"

const { constant, cosine, cosineRestarts, cosineWithWarmup, exponential, linear, linearWithWarmup, multiStep, oneCycle, polynomial, sequence, stepwise, warmup } = schedule
const rates = fc.double({ min: 0, max: 1, noNaN: true })
const counts = fc.integer({ min: 1, max: 40 })
const trace = (s: Schedule, steps: number): number[] => Array.from({ length: steps }, (_, i) => s(i))

describe("schedules from one rate to another", () => {
  test.each([["linear", linear], ["cosine", cosine], ["polynomial", polynomial]] as const)("%s starts and ends there, is monotone, and holds its end", (_name, make) => {
    fc.assert(fc.property(rates, rates, counts, (from, to, steps) => {
      const s = make({ from, to, steps }), list = trace(s, steps + 3)
      expect(list[0]).toBeCloseTo(from, 12)
      for (const i of [steps, steps + 2]) expect(list[i]).toBeCloseTo(to, 12)
      for (let i = 1; i < list.length; i++) expect(Math.sign(to - from) * (list[i]! - list[i - 1]!)).toBeGreaterThanOrEqual(-1e-15)
    }))
  })
  test("polynomial of power 1 is linear", () => {
    const a = trace(polynomial({ from: 0.3, to: 0.1, steps: 7 }), 10), b = trace(linear({ from: 0.3, to: 0.1, steps: 7 }), 10)
    a.forEach((v, i) => expect(v).toBeCloseTo(b[i]!, 14))
  })
})

test("factors multiply at their steps", () => {
  expect(trace(stepwise({ rate: 8, every: 2, factor: 0.5 }), 6)).toEqual([8, 8, 4, 4, 2, 2])
  expect(trace(multiStep({ rate: 8, at: [3, 1], factor: 0.5 }), 5)).toEqual([8, 4, 4, 2, 2])
  expect(trace(exponential({ rate: 8, factor: 0.5 }), 4)).toEqual([8, 4, 2, 1])
  expect(trace(constant(0.1), 2)).toEqual([0.1, 0.1])
})

describe("composition", () => {
  test("warm-up rises on a line to the schedule's first rate, then follows it", () => {
    fc.assert(fc.property(rates, counts, counts, (rate, rise, steps) => {
      const after = cosine({ from: rate, steps }), s = warmup(after, rise)
      for (let i = 0; i < rise; i++) expect(s(i)).toBeCloseTo((rate * i) / rise, 12)
      for (let i = 0; i < steps + 2; i++) expect(s(rise + i)).toBe(after(i))
    }))
    expect(warmup(constant(1), 0)(0)).toBe(1)
  })
  test("sequence gives each part its steps, counted from 0, and the last all others", () => {
    expect(trace(sequence([linear({ from: 0, to: 3, steps: 3 }), 3], [constant(3), 2], [exponential({ rate: 2, factor: 0.5 })]), 8)).toEqual([0, 1, 2, 3, 3, 2, 1, 0.5])
    expect(sequence([constant(4)])(100)).toBe(4)
  })
  test("warm-up schedules are the composition of their parts", () => {
    const a = linearWithWarmup({ rate: 1, warmup: 4, steps: 12 }), b = sequence([linear({ from: 0, to: 1, steps: 4 }), 4], [linear({ from: 1, steps: 8 })])
    expect(trace(a, 14)).toEqual(trace(b, 14))
    expect(cosineWithWarmup({ rate: 1, warmup: 0, steps: 8 })(4)).toBeCloseTo(0.5, 14)
  })
})

test("one cycle starts low, peaks once and ends far lower, in both shapes", () => {
  for (const shape of ["cosine", "linear"] as const) {
    const s = oneCycle({ peak: 1, steps: 101, rising: 0.2, shape }), list = trace(s, 120)
    expect(list[0]).toBeCloseTo(1 / 25, 12)
    expect(list[100]).toBeCloseTo(1 / 25e4, 12)
    expect(list[119]).toBe(list[100])
    const top = list.indexOf(Math.max(...list))
    expect(Math.abs(top - 19.2)).toBeLessThan(1)
    list.forEach((v, i) => i > 0 && expect(i <= top ? v >= list[i - 1]! : v <= list[i - 1]!).toBe(true))
  }
})
test("restarts begin anew after 1, 1 + growth, … periods", () => {
  const s = cosineRestarts({ from: 1, to: 0.1, steps: 3, growth: 2 })
  for (const begin of [0, 3, 9, 21]) expect(s(begin)).toBe(1)
  for (const end of [2, 8, 20]) expect(s(end)).toBeLessThan(0.4)
  const same = cosineRestarts({ from: 1, steps: 4 })
  fc.assert(fc.property(fc.nat(1e6), (i) => same(i) === same(i % 4)))
})

test("misuse is refused, naming the value", () => {
  const refused = (fn: () => unknown, message: string): void => {
    expect(fn).toThrow(ThimbleError)
    expect(fn).toThrow(message)
  }
  refused(() => constant(NaN), "schedule.constant: rate must be finite and ≥ 0, got NaN")
  refused(() => linear({ from: -1, steps: 3 }), "schedule.linear: from must be finite and ≥ 0, got -1")
  refused(() => cosine({ from: 1, steps: 0 }), "schedule.cosine: steps must be a whole number ≥ 1, got 0")
  refused(() => polynomial({ from: 1, steps: 2, power: Infinity }), "schedule.polynomial: power must be finite")
  refused(() => stepwise({ rate: 1, every: 1.5, factor: 1 }), "schedule.stepwise: every must be a whole number ≥ 1, got 1.5")
  refused(() => oneCycle({ peak: 1, steps: 5, rising: 1 }), "schedule.oneCycle: rising must be in 0 < rising < 1, got 1")
  refused(() => cosineRestarts({ from: 1, steps: 5, growth: 1.5 }), "schedule.cosineRestarts: growth must be a whole number ≥ 1, got 1.5")
  refused(() => warmup(constant(1), -1), "schedule.warmup: steps must be a whole number ≥ 1, got -1")
  refused(() => sequence(), "schedule.sequence: needs at least one schedule")
  refused(() => sequence([constant(1)], [constant(2)]), "schedule.sequence: steps of part 0 must be a whole number ≥ 1, got NaN")
  refused(() => linearWithWarmup({ rate: 1, warmup: 9, steps: 9 }), "schedule.linearWithWarmup: the warm-up must be a whole number of steps below 9, got 9")
})
