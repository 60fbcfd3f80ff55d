import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { diagonaliseBidiagonal } from "../../src/linalg/bidiagonal-qr.ts"
import { NonFinite, NotConverged, singularValues, svd } from "../../src/linalg/index.ts"
import { departure, distance, exponents, multiply, norm, random, rectangles, transpose, ε } from "./matrices.ts"

function check(a: Float64Array, m: number, n: number, size: "reduced" | "full" = "reduced"): void {
  const { u, s, vt } = svd(a, m, n, size)
  const k = Math.min(m, n), columns = size === "full" ? m : k, rows = size === "full" ? n : k
  expect([u.length, s.length, vt.length]).toEqual([m * columns, k, rows * n])
  const thin = u.filter((_, p) => p % columns < k).map((x, p) => x * s[p % k]!)
  expect(distance(multiply(thin, vt.subarray(0, k * n), m, k, n), a)).toBeLessThanOrEqual(4 * (m + n) * ε * norm(a))
  expect(departure(u, m, columns)).toBeLessThanOrEqual(8 * (m + n) * ε)
  expect(departure(transpose(vt, rows, n), n, rows)).toBeLessThanOrEqual(8 * (m + n) * ε)
  expect(s).toEqual(s.slice().sort().reverse())
  expect(s.every((x) => x >= 0)).toBe(true)
}

describe("laws", () => {
  test("U·Σ·Vᵀ = A, UᵀU = VᵀV = I, σ descends and is not negative", () => {
    const forms = fc.constantFrom("reduced" as const, "full" as const)
    fc.assert(fc.property(rectangles, forms, ({ a, m, n }, size) => void check(a, m, n, size)), { numRuns: 150 })
  })

  test("the sum of σ² is the sum of the squares of A", () => {
    fc.assert(
      fc.property(rectangles, ({ a, m, n }) => {
        expect(Math.abs(norm(singularValues(a, m, n)) - norm(a))).toBeLessThanOrEqual(2 * (m + n) * ε * norm(a))
      }),
    )
  })

  test("values alone, and values of the transpose, are the same values", () => {
    fc.assert(
      fc.property(rectangles, ({ a, m, n }) => {
        const { s } = svd(a, m, n)
        expect(distance(singularValues(a, m, n), s)).toBeLessThanOrEqual(2 * (m + n) * ε * norm(a))
        expect(distance(svd(transpose(a, m, n), n, m).s, s)).toBeLessThanOrEqual(2 * (m + n) * ε * norm(a))
      }),
      { numRuns: 40 },
    )
  })

  test("a scale of 2^e changes only σ, bit for bit", () => {
    fc.assert(
      fc.property(rectangles, exponents, ({ a, m, n, kind }, e) => {
        fc.pre(!kind.startsWith("graded") && kind !== "rankTwo")
        const plain = svd(a, m, n), scaled = svd(a.map((x) => x * 2 ** e), m, n)
        expect(scaled.u).toEqual(plain.u)
        expect(scaled.vt).toEqual(plain.vt)
        expect(scaled.s).toEqual(plain.s.map((x) => x * 2 ** e))
      }),
      { numRuns: 40 },
    )
  })
})

describe("known values", () => {
  test("a lower triangle of ones: 1 / (2·cos(kπ/(2n + 1)))", () => {
    const n = 50, a = Float64Array.from({ length: n * n }, (_, p) => (p % n <= Math.floor(p / n) ? 1 : 0))
    const exact = Array.from({ length: n }, (_, k) => 1 / (2 * Math.cos(((n - k) * Math.PI) / (2 * n + 1))))
    expect(distance(singularValues(a, n, n), exact)).toBeLessThan(n * ε * norm(exact))
  })

  test("a bidiagonal matrix graded over 200 orders of magnitude keeps the relative accuracy of every value", () => {
    // d = 1, 10⁻⁴⁰, 10⁻⁸⁰ …, e = d/2: the product of the values is the product of the diagonal, in either direction.
    for (const powers of [[0, -40, -80, -120, -160, -200], [-200, -160, -120, -80, -40, 0]]) {
      const d = Float64Array.from(powers, (p) => 10 ** p), e = d.map((x, i) => (i === 5 ? 0 : x / 2))
      const logarithm = (x: Float64Array): number => x.reduce((sum, y) => sum + Math.log10(Math.abs(y)), 0)
      const before = logarithm(d)
      diagonaliseBidiagonal("test", d, e)
      expect(e).toEqual(new Float64Array(6))
      expect(logarithm(d)).toBeCloseTo(before, 11)
    }
  })

  test("values of numpy", () => {
    const a = Float32Array.of(2, -1, 3, 4, 1, -2, -1, 5, 2, 3, 0, 1)
    expect(distance(singularValues(a, 4, 3), [5.726037708158482, 5.142595395441141, 3.9706680500307105])).toBeLessThan(1e-14)
    const sines = Float64Array.from({ length: 64 }, (_, p) => Math.sin((Math.floor(p / 8) + 1) * (2 * (p % 8) + 1)))
    const clustered = [2.356610176509456, 2.355356694158923, 2.355184506945063, 2.3551704920261303, 2.3475335611417276,
      1.7033158341881722, 1.1903102911449328, 0.31417957317957657]
    expect(distance(singularValues(sines, 8, 8), clustered)).toBeLessThan(1e-14)
    check(sines, 8, 8)
  })

  test("zeros on and beside the diagonal", () => {
    check(Float64Array.of(0, 1, 0, 0, 0, 1, 0, 0, 0), 3, 3)
    check(Float64Array.of(1, 1, 0, 0, 0, 1, 0, 0, 1), 3, 3)
    check(Float64Array.of(0, 0, 0, 2), 2, 2)
  })

  test("matrices of many blocks, of low rank too", () => {
    check(random(150, 150, 1), 150, 150)
    check(multiply(random(200, 5, 2), random(5, 120, 3), 200, 5, 120), 200, 120, "full")
  })
})

test("an iteration that cannot converge ends in an error", () => {
  expect(() => diagonaliseBidiagonal("svd", Float64Array.of(1, NaN, 1), Float64Array.of(1, 1, 0))).toThrow(NotConverged)
})

test("without rows or columns, and what is refused", () => {
  expect(svd(new Float64Array(0), 0, 0)).toEqual({ u: new Float64Array(0), s: new Float64Array(0), vt: new Float64Array(0) })
  expect([...svd(new Float64Array(0), 0, 2, "full").vt]).toEqual([1, 0, 0, 1])
  expect(svd(Float64Array.of(-2), 1, 1).s).toEqual(Float64Array.of(2))
  expect(() => singularValues(Float64Array.of(1, NaN), 1, 2)).toThrow(NonFinite)
})
