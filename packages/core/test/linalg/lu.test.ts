import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { determinant, hadamardMatrix, inverse, lu, signAndLogDeterminant, Singular, solve } from "../../src/linalg/index.ts"
import { distance, eye, exponents, hilbert, multiply, norm, random, squares, transpose, ε } from "./matrices.ts"

/** Row i of the result is row `permutation[i]`. */
const permute = (a: Float64Array, n: number, permutation: Int32Array): Float64Array =>
  Float64Array.from({ length: n * n }, (_, p) => a[permutation[Math.floor(p / n)]! * n + (p % n)]!)

/** Each diagonal element outweighs the rest of its row, whatever the sizes of the others: no such matrix is singular. */
const regular = squares.map(({ a, n }) => {
  const row = (i: number): number => a.subarray(i * n, (i + 1) * n).reduce((sum, x) => sum + Math.abs(x), 0)
  return { n, a: a.map((x, p) => (p % (n + 1) === 0 ? 1 + row(p / (n + 1)) : x)) }
})

describe("laws", () => {
  test("P·A = L·U with |L| ≤ 1, for singular matrices too", () => {
    fc.assert(
      fc.property(squares, ({ a, n }) => {
        const { factors, permutation, zeroPivot } = lu(a, n)
        const l = factors.map((x, p) => (p % n < Math.floor(p / n) ? x : p % (n + 1) === 0 ? 1 : 0))
        const u = factors.map((x, p) => (p % n >= Math.floor(p / n) ? x : 0))
        expect(l.every((x) => Math.abs(x) <= 1)).toBe(true)
        expect(distance(multiply(l, u, n, n, n), permute(a, n, permutation))).toBeLessThanOrEqual(2 * n * ε * norm(l) * norm(u))
        expect(zeroPivot).toBe(Array.from({ length: n }, (_, i) => u[i * n + i]).indexOf(0))
      }),
    )
  })

  test("A·X = B and A·A⁻¹ = I", () => {
    fc.assert(
      fc.property(regular, fc.integer({ min: 0, max: 5 }), ({ a, n }, count) => {
        const b = random(n, count, 3), x = solve(a, n, b, count), inv = inverse(a, n)
        expect(distance(multiply(a, x, n, n, count), b)).toBeLessThanOrEqual(4 * n * ε * norm(a) * norm(x))
        expect(distance(multiply(a, inv, n, n, n), eye(n))).toBeLessThanOrEqual(4 * n * ε * norm(a) * norm(inv))
      }),
    )
  })

  test("det Aᵀ = det A, det 2^e·A = 2^(e·n)·det A in logarithms, and a swap of rows changes the sign", () => {
    fc.assert(
      fc.property(regular, exponents, ({ a, n }, e) => {
        fc.pre(n > 1)
        const plain = signAndLogDeterminant(a, n)
        const mirrored = signAndLogDeterminant(transpose(a, n, n), n)
        expect(mirrored.sign).toBe(plain.sign)
        expect(mirrored.logAbs).toBeCloseTo(plain.logAbs, 9)
        const scaled = signAndLogDeterminant(a.map((x) => x * 2 ** e), n)
        expect(scaled.sign).toBe(plain.sign)
        expect(scaled.logAbs).toBeCloseTo(plain.logAbs + n * e * Math.LN2, 6)
        const swapped = permute(a, n, Int32Array.from({ length: n }, (_, i) => (i < 2 ? 1 - i : i)))
        expect(signAndLogDeterminant(swapped, n).sign).toBe(0 - plain.sign)
      }),
      { numRuns: 40 },
    )
  })
})

describe("known values", () => {
  test("Hilbert matrices: determinants c(n)⁴/c(2n), inverses of whole numbers", () => {
    const c = (n: number): number => Array.from({ length: n }, (_, i) => factorial(i)).reduce((x, y) => x * y, 1)
    const factorial = (n: number): number => (n < 2 ? 1 : n * factorial(n - 1))
    for (const n of [1, 2, 3, 4, 5, 6]) {
      const exact = c(n) ** 4 / c(2 * n)
      // The condition number of H₆ is 1.5e7: ten digits are what its elements, rounded, still determine.
      expect(Math.abs(determinant(hilbert(n), n) / exact - 1)).toBeLessThan(1e-9)
    }
    const whole = [25, -300, 1050, -1400, 630, -300, 4800, -18900, 26880, -12600, 1050, -18900, 79380, -117600, 56700,
      -1400, 26880, -117600, 179200, -88200, 630, -12600, 56700, -88200, 44100]
    expect(distance(inverse(hilbert(5), 5), whole) / norm(whole)).toBeLessThan(1e-11)
  })

  test("|det| of a Hadamard matrix of order n is n^(n/2), also where that is no double", () => {
    for (const n of [4, 12, 64, 300]) expect(signAndLogDeterminant(Float64Array.from(hadamardMatrix(n)), n).logAbs).toBeCloseTo((n / 2) * Math.log(n), 8)
    expect(Math.abs(determinant(Float64Array.from(hadamardMatrix(12)), 12))).toBeCloseTo(12 ** 6, 6)
  })

  test("a determinant in range is found where products on the way are not", () => {
    expect(determinant(Float64Array.of(1e200, 0, 0, 0, 0, 1e200, 0, 0, 0, 0, 1e-200, 0, 0, 0, 0, 1e-200), 4)).toBeCloseTo(1, 12)
    expect(determinant(Float64Array.of(1e-200, 0, 0, 1e-200), 2)).toBe(0)
    expect(determinant(Float64Array.of(1e200, 0, 0, -1e200), 2)).toBe(-Infinity)
    expect(determinant(Float64Array.of(5e-324, 0, 0, 2 ** 1000), 2)).toBe(2 ** -74)
  })

  test("values of numpy", () => {
    const s = Float32Array.of(4, 1, -2, 2, 1, 2, 0, 1, -2, 0, 3, -2, 2, 1, -2, -1)
    expect(signAndLogDeterminant(s, 4)).toEqual({ sign: -1, logAbs: expect.closeTo(3.6109179126442243, 12) })
    expect(determinant(s, 4)).toBeCloseTo(-37, 12)
  })

  test("partial pivoting meets a matrix that no elimination without it survives", () => {
    expect([...solve(Float64Array.of(0, 1, 1, 0), 2, Float64Array.of(3, 4), 1)]).toEqual([4, 3])
    expect(lu(Float64Array.of(0, 1, 1, 0), 2)).toMatchObject({ parity: -1, zeroPivot: -1 })
  })
})

describe("failures", () => {
  test("an exactly singular matrix names its pivot, and has determinant zero", () => {
    const a = Float64Array.of(1, 2, 3, 2, 4, 6, 0, 1, 1)
    expect(() => solve(a, 3, new Float64Array(3), 1)).toThrow(Singular)
    expect(() => inverse(a, 3)).toThrow(expect.objectContaining({ pivot: 2, op: "inverse" }))
    expect(determinant(a, 3)).toBe(0)
    expect(signAndLogDeterminant(a, 3)).toEqual({ sign: 0, logAbs: -Infinity })
  })

  test("empty systems have empty solutions and determinant one", () => {
    const none = new Float64Array(0)
    expect(solve(none, 0, none, 4)).toHaveLength(0)
    expect(inverse(none, 0)).toHaveLength(0)
    expect(determinant(none, 0)).toBe(1)
    expect(signAndLogDeterminant(none, 0)).toEqual({ sign: 1, logAbs: 0 })
  })
})
