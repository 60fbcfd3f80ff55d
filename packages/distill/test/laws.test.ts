// Laws of distillation losses, on random logits.
import { crossEntropy, exp, grad, logSoftmax, tensor, type Tensor } from "@thimble/core"
import { open } from "@thimble/kernels"
import fc from "fast-check"
import { beforeAll, describe, expect, test } from "vitest"
import { forwardKL, jensenShannon, reverseKL, skewedKL, softTargets, standardize, sum, topK, topOf, topP, totalVariation, labels, type Divergence, type Loss } from "../src/index.ts"

beforeAll(async () => {
  await open("wasm", { threads: 1 })
})

/** Every divergence, and the largest value it can have. */
const divergences: Readonly<Record<string, readonly [make: (o?: object) => Divergence, most: number]>> = {
  forwardKL: [forwardKL, Infinity],
  reverseKL: [reverseKL, Infinity],
  "jensenShannon(0.5)": [jensenShannon, Math.LN2],
  "jensenShannon(0.1)": [(o) => jensenShannon({ beta: 0.1, ...o }), Math.LN2],
  totalVariation: [totalVariation, 1],
  "skewedKL(0.1)": [(o) => skewedKL(o), -Math.log(0.1)],
  "skewedKL(0.2, reverse)": [(o) => skewedKL({ alpha: 0.2, direction: "reverse", ...o }), -Math.log(0.2)],
}

const logit = fc.oneof({ weight: 4, arbitrary: fc.double({ min: -8, max: 8, noNaN: true }) }, { weight: 1, arbitrary: fc.integer({ min: -3, max: 3 }) }, { weight: 1, arbitrary: fc.constantFrom(-40, 40, 0) })
const sizes = fc.record({ rows: fc.integer({ min: 1, max: 3 }), classes: fc.integer({ min: 2, max: 9 }) })
const rows = (n: number) => sizes.chain(({ rows, classes }) => fc.tuple(...Array.from({ length: n }, () => fc.array(fc.array(logit, { minLength: classes, maxLength: classes }), { minLength: rows, maxLength: rows }))))
const f64 = (x: readonly (readonly number[])[]): Tensor => tensor(Float64Array.from(x.flat()), { shape: [x.length, x[0]!.length] })
const value = (loss: Loss, student: Tensor, teacher: Tensor): Promise<number> => loss.compute({ student: { logits: student }, teacher: { logits: teacher } }).item() as Promise<number>
const slope = async (loss: Loss, student: Tensor, teacher: Tensor): Promise<number[]> => [...(await grad(loss.compute({ student: { logits: student }, teacher: { logits: teacher } }), [student])[0]!.data())]
const runs = { numRuns: Number(process.env.THIMBLE_RUNS ?? 15) }
const largest = (x: readonly number[]): number => Math.max(...x.map(Math.abs))

describe.each(Object.entries(divergences))("J1: %s", (_, [make, most]) => {
  test("is ≥ 0, no larger than its bound, and 0 of equal distributions, whatever is added to logits", async () => {
    await fc.assert(fc.asyncProperty(rows(2), fc.double({ min: -20, max: 20, noNaN: true }), async ([s, t], shift) => {
      const [a, b] = [f64(s), f64(t)]
      const d = await value(make(), a, b)
      expect(d).toBeGreaterThanOrEqual(-1e-12)
      expect(d).toBeLessThanOrEqual(most + 1e-12)
      expect(Math.abs(await value(make(), a, a.add(shift)))).toBeLessThan(1e-12)
      expect(await value(make(), a.add(shift), b.add(-2 * shift))).toBeCloseTo(d, 9)
    }), runs)
  })
  test("is more than 0 of different distributions", async () => {
    expect(await value(make(), f64([[0, 1, 2]]), f64([[0, 1, 2.1]]))).toBeGreaterThan(1e-6)
  })
})

test("J1: the Jensen–Shannon divergence is symmetric at β = ½", async () => {
  await fc.assert(fc.asyncProperty(rows(2), async ([s, t]) => {
    expect(await value(jensenShannon(), f64(s), f64(t))).toBeCloseTo(await value(jensenShannon(), f64(t), f64(s)), 12)
  }), runs)
})
test("J1: divided by β or 1 − β it tends to the forward and the reverse KL, which it is at β = 0 and 1", async () => {
  const mild = rows(2).map((all) => all.map((x) => x.map((row) => row.map((v) => v / 8))))
  await fc.assert(fc.asyncProperty(mild, async ([s, t]) => {
    const [a, b] = [f64(s), f64(t)], [forward, reverse] = [await value(forwardKL(), a, b), await value(reverseKL(), a, b)]
    expect(await value(jensenShannon({ beta: 0 }), a, b)).toBe(forward)
    expect(await value(jensenShannon({ beta: 1 }), a, b)).toBe(reverse)
    for (const beta of [1e-4, 1e-6]) {
      // What is left out grows with the ratio of probabilities, up to e^20 here.
      const near = 1e3 * beta * Math.max(1, forward, reverse) + 1e-8
      if (largest([...s!.flat(), ...t!.flat()]) > 2) continue
      expect(Math.abs((await value(jensenShannon({ beta }), a, b)) / beta - forward)).toBeLessThan(near)
      expect(Math.abs((await value(jensenShannon({ beta: 1 - beta }), a, b)) / beta - reverse)).toBeLessThan(near)
    }
  }), runs)
})

test("J2: T² times the gradient at temperature T tends to (z − v)/V of centred logits z of the student, v of the teacher", async () => {
  await fc.assert(fc.asyncProperty(rows(2), async ([s, t]) => {
    const centre = (x: readonly (readonly number[])[]): number[][] => x.map((row) => row.map((v) => v - row.reduce((p, q) => p + q) / row.length))
    const [z, v] = [centre(s!), centre(t!)], n = z.length, V = z[0]!.length
    // What is left out is of second order in logits over T.
    const T = 1e5, most = largest([...z.flat(), ...v.flat()]), found = await slope(softTargets({ temperature: T }), f64(z), f64(v))
    z.flat().forEach((zi, i) => expect(Math.abs(found[i]! * n - (zi - v.flat()[i]!) / V)).toBeLessThan((2 * most ** 2) / T / V + 1e-5))
  }), runs)
  // At a finite temperature it is not.
  const [z, v] = [f64([[1, -1, 0]]), f64([[3, -1, -2]])]
  expect(Math.abs((await slope(softTargets({ temperature: 1 }), z, v))[0]! - -2 / 3)).toBeGreaterThan(0.05)
})

describe.each(Object.entries(divergences))("J3: %s", (_, [make]) => {
  test("of the V most probable of V classes, or of a share of 1, is that of all; a stored teacher is the live one", async () => {
    await fc.assert(fc.asyncProperty(rows(2), fc.constantFrom(1, 2.5), async ([s, t], temperature) => {
      const [a, b] = [f64(s), f64(t)], V = s![0]!.length
      const whole = await value(make({ temperature }), a, b), near = (got: number): void => expect(Math.abs(got - whole)).toBeLessThan(1e-9 * Math.max(1, whole))
      near(await value(make({ temperature, restrict: topK(V) }), a, b))
      near(await value(make({ temperature, restrict: topP(1) }), a, b))
      const restrict = topK(Math.max(1, V - 1)), loss = make({ temperature, restrict })
      const stored = await loss.compute({ student: { logits: a }, teacher: { top: topOf(b, V) } }).item()
      expect(stored).toBeCloseTo(await value(loss, a, b), 9)
    }), runs)
  })
  test("J4: of equal models has no gradient; none reaches the teacher", async () => {
    await fc.assert(fc.asyncProperty(rows(2), fc.constantFrom(1, 3), async ([s, t], temperature) => {
      const a = f64(s), b = f64(t)
      for (const restrict of [undefined, topK(2), topP(0.7)]) {
        const loss = make({ temperature, ...(restrict && { restrict }) })
        expect(largest(await slope(loss, a, f64(s)))).toBeLessThan(1e-12)
        expect(largest([...(await grad(loss.compute({ student: { logits: a }, teacher: { logits: b } }), [b])[0]!.data())])).toBe(0)
      }
    }), { numRuns: 5 })
  })
})

test("soft targets are the cross entropy with the teacher's probabilities, less their entropy", async () => {
  await fc.assert(fc.asyncProperty(rows(2), async ([s, t]) => {
    const [a, b] = [f64(s), f64(t)], p = exp(logSoftmax(b))
    const cross = await crossEntropy(a, p).item(), entropy = await crossEntropy(b, p).item()
    expect(await value(softTargets(), a, b)).toBeCloseTo(cross - entropy, 9)
  }), runs)
})
test("standardized logits do not depend on their range", async () => {
  await fc.assert(fc.asyncProperty(rows(2), fc.double({ min: 0.5, max: 9, noNaN: true }), async ([s, t], factor) => {
    const spread = (x: readonly (readonly number[])[]): boolean => x.every((row) => Math.max(...row) - Math.min(...row) > 0.1)
    fc.pre(spread(s!) && spread(t!))
    const loss = forwardKL({ prepare: standardize, temperature: 2 }), [a, b] = [f64(s), f64(t)]
    expect(await value(loss, a.mul(factor).add(3), b)).toBeCloseTo(await value(loss, a, b), 4)
  }), runs)
})
test("positions that do not count do not: labels of −100, masks of 0; none at all give 0, and no gradient", async () => {
  const student = f64([[1, 2, 3], [4, 0, 1], [2, 2, 0]]), teacher = f64([[0, 2, 1], [1, 1, 1], [5, 0, 0]])
  const ids = (x: number[]): Tensor => tensor(Int32Array.from(x), { shape: [x.length] })
  const loss = sum([0.5, forwardKL()], [0.5, labels()])
  const part = await loss.compute({ student: { logits: student.narrow(0, 0, 2) }, teacher: { logits: teacher.narrow(0, 0, 2) }, labels: ids([2, 0]) }).item()
  expect(await loss.compute({ student: { logits: student }, teacher: { logits: teacher }, labels: ids([2, 0, -100]) }).item()).toBeCloseTo(part, 12)
  expect(await loss.compute({ student: { logits: student }, teacher: { logits: teacher }, labels: ids([2, 0, 1]), mask: ids([1, 1, 0]) }).item()).toBeCloseTo(part, 12)
  // Labels are a mean over positions that have one; distributions over those of the mask.
  const encoder = { student: { logits: student }, teacher: { logits: teacher }, labels: ids([2, -100, -100]), mask: ids([1, 1, 0]) }
  expect(await labels().compute(encoder).item()).toBeCloseTo(await crossEntropy(student.narrow(0, 0, 1), ids([2])).item(), 12)
  expect(await forwardKL().compute(encoder).item()).toBeCloseTo(await value(forwardKL(), student.narrow(0, 0, 2), teacher.narrow(0, 0, 2)), 12)
  const none = loss.compute({ student: { logits: student }, teacher: { logits: teacher }, labels: ids([-100, -100, -100]) })
  expect([await none.item(), largest([...(await grad(none, [student])[0]!.data())])]).toEqual([0, 0])
})
test("a sum is the sum: of values, and of gradients", async () => {
  const [a, b] = [f64([[1, 2, 0]]), f64([[0, 2, 1]])], terms = [forwardKL(), reverseKL({ temperature: 2 })] as const
  const [x, y] = await Promise.all(terms.map((l) => value(l, a, b)))
  expect(await value(sum([0.3, terms[0]], [2, terms[1]]), a, b)).toBeCloseTo(0.3 * x! + 2 * y!, 12)
  const [g, h, both] = await Promise.all([terms[0], terms[1], sum([0.3, terms[0]], [2, terms[1]])].map((l) => slope(l, a, b)))
  both!.forEach((v, i) => expect(v).toBeCloseTo(0.3 * g![i]! + 2 * h![i]!, 12))
})
test("what cannot be is refused at the call", () => {
  expect(() => forwardKL({ temperature: 0 })).toThrow("forwardKL: the temperature must be positive, got 0")
  expect(() => jensenShannon({ beta: 2 })).toThrow("beta must lie in 0 … 1, got 2")
  expect(() => topK(0)).toThrow("topK: needs a whole number of classes ≥ 1, got 0")
  expect(() => topP(0)).toThrow("the share must be in 0 < p ≤ 1")
  expect(() => forwardKL({ prepare: standardize, restrict: topK(3) })).toThrow("logits cannot be prepared and restricted at once")
  expect(() => sum()).toThrow("needs at least one [weight, loss]")
  expect(() => forwardKL().compute({ student: { logits: f64([[1, 2]]) } })).toThrow("forwardKL: needs the teacher's logits")
  expect(() => forwardKL().compute({ student: { logits: f64([[1, 2]]) }, teacher: { logits: f64([[1, 2, 3]]) } })).toThrow("logits of student [1, 2] and teacher [1, 3] differ; both must see the same batch and know the same classes")
  expect(() => forwardKL().check!({ classes: 10 }, { classes: 12 })).toThrow("the student knows 10 classes, the teacher 12")
})
