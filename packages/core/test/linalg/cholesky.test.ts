import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { cholesky, choleskyInverse, inverseUpperFactor, NonFinite, NotPositiveDefinite, solveCholesky } from "../../src/linalg/index.ts"
import { definites, distance, eye, exponents, hilbert, multiply, norm, random, transpose, ε } from "./matrices.ts"

const lowerOf = (a: Float64Array, n: number): Float64Array => a.map((x, p) => (p % n > Math.floor(p / n) ? 0 : x))
const upperOf = (a: Float64Array, n: number): Float64Array => a.map((x, p) => (p % n < Math.floor(p / n) ? 0 : x))

describe("laws", () => {
  test("A = L·Lᵀ, with L lower", () => {
    fc.assert(
      fc.property(definites, ({ a, n }) => {
        const l = cholesky(a, n)
        expect(l).toEqual(lowerOf(l, n))
        expect(distance(multiply(l, transpose(l, n, n), n, n, n), a)).toBeLessThanOrEqual(2 * n * ε * norm(a))
      }),
    )
  })

  test("only the lower half is read", () => {
    fc.assert(
      fc.property(definites, ({ a, n }) => {
        expect(cholesky(lowerOf(a, n), n)).toEqual(cholesky(a, n))
        expect(inverseUpperFactor(lowerOf(a, n), n)).toEqual(inverseUpperFactor(a, n))
      }),
      { numRuns: 20 },
    )
  })

  test("a scale of 4^k is a scale of 2^k of the factor, bit for bit", () => {
    fc.assert(
      fc.property(definites, exponents, ({ a, n, kind }, e) => {
        fc.pre(!kind.startsWith("graded"))
        const half = Math.round(e / 2)
        expect(cholesky(a.map((x) => x * 2 ** (2 * half)), n)).toEqual(cholesky(a, n).map((x) => x * 2 ** half))
      }),
      { numRuns: 40 },
    )
  })

  test("A·A⁻¹ = I, the inverse is exactly symmetric, and a solve agrees with it", () => {
    fc.assert(
      fc.property(definites, ({ a, n }) => {
        const l = cholesky(a, n), inverse = choleskyInverse(l, n), b = random(n, 3, 1)
        expect(inverse).toEqual(transpose(inverse, n, n))
        const bound = 4 * n * ε * norm(a) * norm(inverse)
        expect(distance(multiply(a, inverse, n, n, n), eye(n))).toBeLessThanOrEqual(bound)
        expect(distance(multiply(a, solveCholesky(l, n, b, 3), n, n, 3), b)).toBeLessThanOrEqual(bound * norm(b))
      }),
    )
  })

  test("A⁻¹ = Uᵀ·U, with U upper and its diagonal positive: the factor GPTQ asks for", () => {
    fc.assert(
      fc.property(definites, ({ a, n }) => {
        const u = inverseUpperFactor(a, n)
        expect(u).toEqual(upperOf(u, n))
        for (let i = 0; i < n; i++) expect(u[i * n + i]).toBeGreaterThan(0)
        const inverse = multiply(transpose(u, n, n), u, n, n, n)
        expect(distance(multiply(a, inverse, n, n, n), eye(n))).toBeLessThanOrEqual(4 * n * ε * norm(a) * norm(inverse))
      }),
    )
  })
})

describe("known values", () => {
  test("the factor of a Pascal matrix is Pascal's triangle, exactly", () => {
    const n = 12
    const binomial = (a: number, b: number): number => (b === 0 || a === b ? 1 : b > a ? 0 : binomial(a - 1, b - 1) + binomial(a - 1, b))
    const pascal = Float64Array.from({ length: n * n }, (_, p) => binomial(Math.floor(p / n) + (p % n), p % n))
    expect(cholesky(pascal, n)).toEqual(Float64Array.from({ length: n * n }, (_, p) => binomial(Math.floor(p / n), p % n)))
  })

  test("GPTQ's factor of a Hilbert matrix agrees with numpy's inverse and Cholesky", () => {
    const h = hilbert(5).map((x, p) => (p % 6 === 0 ? x + 0.01 : x))
    const numpy = [
      2.096342316743886, -4.6941536964896855, 0.5473428069321943, 1.2361745162373754, 1.0765060346539512,
      0, 4.738941082816348, -5.623770203734125, -1.0275898930893819, 1.1726501798314988,
      0, 0, 6.202298423688555, -5.0002497483816, -2.155140110706674,
      0, 0, 0, 6.4761377408512075, -6.684087117851021,
      0, 0, 0, 0, 2.8734788556634467,
    ]
    expect(distance(inverseUpperFactor(h, 5), numpy)).toBeLessThan(1e-12)
  })

  test("sizes where every block is full", () => {
    const n = 193, g = random(n, n, 1)
    const a = multiply(g, transpose(g, n, n), n, n, n)
    const l = cholesky(a, n)
    expect(distance(multiply(l, transpose(l, n, n), n, n, n), a)).toBeLessThan(n * ε * norm(a))
  })
})

describe("failures", () => {
  test("the first pivot that is not above zero is named, in small and in blocked matrices", () => {
    for (const n of [3, 40, 100]) {
      for (const pivot of [0, 1, n - 1]) {
        const a = eye(n)
        a[pivot * n + pivot] = -2
        expect(() => cholesky(a, n)).toThrow(expect.objectContaining({ pivot, value: -2, code: "numeric" }))
        expect(() => inverseUpperFactor(a, n)).toThrow(expect.objectContaining({ pivot, value: -2 }))
      }
    }
    expect(() => cholesky(new Float64Array(4), 2)).toThrow("cholesky: the matrix must be positive definite, pivot 0 is 0; add a larger multiple of the identity?")
    expect(() => cholesky(Float64Array.of(1, 1, 1, 1), 2)).toThrow(NotPositiveDefinite)
  })

  test("NaN, infinities and wrong lengths are refused at the call", () => {
    expect(() => cholesky(Float32Array.of(1, 0, NaN, Infinity), 2)).toThrow(expect.objectContaining({ index: 2, value: NaN, name: "NonFinite" }))
    expect(() => cholesky(Float64Array.of(1, 0, 0, -Infinity), 2)).toThrow(NonFinite)
    expect(() => cholesky(new Float64Array(5), 2)).toThrow("cholesky: 5 elements do not make a matrix of 2 × 2 (4 elements)")
  })

  test("matrices without elements have factors without elements", () => {
    expect(cholesky(new Float64Array(0), 0)).toHaveLength(0)
    expect(inverseUpperFactor(new Float32Array(0), 0)).toHaveLength(0)
    expect(choleskyInverse(new Float32Array(0), 0)).toHaveLength(0)
  })
})
