import fc from "fast-check"
import { expect, test } from "vitest"
import { NonFinite, qr } from "../../src/linalg/index.ts"
import { departure, distance, exponents, multiply, norm, random, rectangles, ε } from "./matrices.ts"

test("Q·R = A, QᵀQ = I, R is upper; reduced and complete", () => {
  fc.assert(
    fc.property(rectangles, fc.constantFrom("reduced" as const, "complete" as const), ({ a, m, n }, size) => {
      const { q, r } = qr(a, m, n, size)
      const k = size === "complete" ? m : Math.min(m, n)
      expect([q.length, r.length]).toEqual([m * k, k * n])
      expect(distance(multiply(q, r, m, k, n), a)).toBeLessThanOrEqual(4 * (m + n) * ε * norm(a))
      expect(departure(q, m, k)).toBeLessThanOrEqual(4 * (m + k) * ε)
      expect(r).toEqual(r.map((x, p) => (p % n < Math.floor(p / n) ? 0 : x)))
    }),
    { numRuns: 120 },
  )
})

test("the reduced factors are the first columns and rows of the complete ones", () => {
  fc.assert(
    fc.property(rectangles, ({ a, m, n }) => {
      const small = qr(a, m, n), large = qr(a, m, n, "complete"), k = Math.min(m, n)
      expect(distance(small.q, large.q.filter((_, p) => p % m < k))).toBeLessThanOrEqual(4 * (m + k) * ε)
      expect(small.r).toEqual(large.r.subarray(0, k * n))
    }),
    { numRuns: 40 },
  )
})

test("a scale of 2^e scales R and leaves Q alone, bit for bit", () => {
  fc.assert(
    fc.property(rectangles, exponents, ({ a, m, n, kind }, e) => {
      fc.pre(!kind.startsWith("graded"))
      const plain = qr(a, m, n), scaled = qr(a.map((x) => x * 2 ** e), m, n)
      expect(scaled.q).toEqual(plain.q)
      expect(scaled.r).toEqual(plain.r.map((x) => x * 2 ** e))
    }),
    { numRuns: 40 },
  )
})

test("noise that elimination leaves of a matrix of rank one sinks below the normal numbers, and Q stays orthonormal", () => {
  const m = 60, n = 50, { q } = qr(new Float64Array(m * n).fill(1), m, n)
  expect(departure(q, m, n)).toBeLessThan(4 * (m + n) * ε)
})

test("columns that differ by 300 orders of magnitude keep their own relative accuracy", () => {
  const a = Float64Array.of(1, 3e-300, 1, 4e-300, 1, 0)
  const { q, r } = qr(a, 3, 2)
  const back = multiply(q, r, 3, 2, 2)
  for (let i = 0; i < 6; i++) expect(Math.abs(back[i]! - a[i]!)).toBeLessThanOrEqual(8 * ε * (i % 2 === 0 ? 1 : 5e-300))
})

test("signs as LAPACK leaves them (values of numpy)", () => {
  const a = Float32Array.of(2, -1, 3, 4, 1, -2, -1, 5, 2, 3, 0, 1)
  const tall = [-5.47722557505166, 0.5477225575051661, 0.18257418583505558, 0, -5.167204273105526, -0.9482884246523242, 0, 0, -4.13127289468235]
  expect(distance(qr(a, 4, 3).r, tall)).toBeLessThan(1e-14)
  const wide = [-3.7416573867739413, -0.26726124191242384, 0.2672612419124243, -2.405351177211819, 0, -4.574775560458833,
    0.6401563070949221, -2.045377469010605, 0, 0, 5.43311801188397, 0.17526187135109628]
  const t = Float64Array.from({ length: 12 }, (_, p) => a[(p % 4) * 3 + Math.floor(p / 4)]!)
  expect(distance(qr(t, 3, 4).r, wide)).toBeLessThan(1e-14)
  // A column that is zero below the diagonal is left alone, even a negative one; a zero above it counts as positive.
  expect([...qr(Float64Array.of(-3, 1, 0, 2), 2, 2).r]).toEqual([-3, 1, 0, 2])
  expect([...qr(Float64Array.of(0, 2), 2, 1).r]).toEqual([-2])
})

test("matrices of many blocks", () => {
  for (const [m, n] of [[200, 140], [100, 150]] as const) {
    const a = random(m, n, 1), { q, r } = qr(a, m, n, "complete")
    expect(distance(multiply(q, r, m, m, n), a)).toBeLessThan(m * ε * norm(a))
    expect(departure(q, m, m)).toBeLessThan(m * ε)
  }
})

test("without rows or columns Q is an identity without content", () => {
  expect(qr(new Float64Array(0), 0, 3)).toEqual({ q: new Float64Array(0), r: new Float64Array(0) })
  expect([...qr(new Float64Array(0), 2, 0, "complete").q]).toEqual([1, 0, 0, 1])
  expect(() => qr(Float64Array.of(1, NaN), 1, 2)).toThrow(NonFinite)
})
