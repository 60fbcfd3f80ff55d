import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { eigenvalues, eigh, NonFinite } from "../../src/linalg/index.ts"
import { departure, distance, exponents, eye, multiply, norm, random, symmetrics, transpose, ε } from "./matrices.ts"

function check(a: Float64Array, n: number): void {
  const { values, vectors } = eigh(a, n)
  const scaled = vectors.map((x, p) => x * values[p % n]!)
  expect(distance(multiply(a, vectors, n, n, n), scaled)).toBeLessThanOrEqual(4 * n * ε * norm(a))
  expect(departure(vectors, n, n)).toBeLessThanOrEqual(8 * n * ε)
  expect(values).toEqual(values.slice().sort())
}

/** Symmetric tridiagonal. */
const tridiagonal = (d: readonly number[], e: readonly number[]): Float64Array =>
  Float64Array.from({ length: d.length ** 2 }, (_, p) => {
    const i = Math.floor(p / d.length), j = p % d.length
    return i === j ? d[i]! : Math.abs(i - j) === 1 ? e[Math.min(i, j)]! : 0
  })

describe("laws", () => {
  test("A·V = V·Λ, VᵀV = I, values ascend", () => {
    fc.assert(fc.property(symmetrics, ({ a, n }) => void check(a, n)), { numRuns: 120 })
  })

  test("values that repeat keep a full orthonormal basis", () => {
    for (const n of [2, 17, 64]) {
      check(eye(n), n)
      const v = eigh(random(n, n, 1), n).vectors
      const spread = v.map((x, p) => x * (p % n < n / 2 ? 1 : 2))
      check(multiply(spread, transpose(v, n, n), n, n, n), n)
    }
  })

  test("values alone are the values with vectors", () => {
    fc.assert(
      fc.property(symmetrics, ({ a, n }) => {
        expect(distance(eigenvalues(a, n), eigh(a, n).values)).toBeLessThanOrEqual(4 * n * ε * norm(a))
      }),
      { numRuns: 40 },
    )
  })

  test("only the lower half is read; a scale of 2^e changes only the values, bit for bit", () => {
    fc.assert(
      fc.property(symmetrics, exponents, ({ a, n, kind }, e) => {
        fc.pre(!kind.startsWith("graded"))
        const plain = eigh(a, n), scaled = eigh(a.map((x, p) => (p % n > Math.floor(p / n) ? 0 : x * 2 ** e)), n)
        expect(scaled.vectors).toEqual(plain.vectors)
        expect(scaled.values).toEqual(plain.values.map((x) => x * 2 ** e))
      }),
      { numRuns: 40 },
    )
  })
})

describe("known values", () => {
  test("second differences: 2 − 2·cos(kπ/(n + 1))", () => {
    const n = 60
    const values = eigenvalues(tridiagonal(new Array<number>(n).fill(2), new Array<number>(n - 1).fill(-1)), n)
    const exact = Array.from({ length: n }, (_, k) => 2 - 2 * Math.cos(((k + 1) * Math.PI) / (n + 1)))
    expect(distance(values, exact)).toBeLessThan(n * ε)
  })

  test("the matrix of Clement and Kac: whole numbers n − 1, n − 3, …", () => {
    const n = 40
    const a = tridiagonal(new Array<number>(n).fill(0), Array.from({ length: n - 1 }, (_, k) => Math.sqrt((k + 1) * (n - k - 1))))
    expect(distance(eigenvalues(a, n), Array.from({ length: n }, (_, k) => 2 * k - n + 1))).toBeLessThan(n * n * ε)
  })

  test("Wilkinson's W₂₁⁺, whose largest two values agree to 14 digits", () => {
    const a = tridiagonal(Array.from({ length: 21 }, (_, i) => Math.abs(10 - i)), new Array<number>(20).fill(1))
    const values = eigenvalues(a, 21)
    expect(values[20]).toBeCloseTo(10.746194182903393, 13)
    expect(values[19]).toBeCloseTo(10.746194182903322, 13)
    check(a, 21)
  })

  test("values of numpy", () => {
    const values = eigenvalues(Float32Array.of(4, 1, -2, 2, 1, 2, 0, 1, -2, 0, 3, -2, 2, 1, -2, -1), 4)
    expect(distance(values, [-2.197516977439427, 1.0843644637732177, 2.2685314064312423, 6.844621107234966])).toBeLessThan(1e-14)
  })

  test("a matrix of many blocks", () => {
    const n = 150, g = random(n, n, 1), t = transpose(g, n, n)
    check(g.map((x, p) => x + t[p]!), n)
  })
})

test("size 0, size 1, and what is refused", () => {
  expect(eigh(new Float64Array(0), 0)).toEqual({ values: new Float64Array(0), vectors: new Float64Array(0) })
  expect(eigh(Float64Array.of(-1e-310), 1)).toEqual({ values: Float64Array.of(-1e-310), vectors: Float64Array.of(1) })
  expect(() => eigh(Float64Array.of(1, 0, Infinity, 1), 2)).toThrow(NonFinite)
})
