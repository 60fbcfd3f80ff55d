import fc from "fast-check"
import { expect, test } from "vitest"
import { invertTriangular, Singular, solveTriangular } from "../../src/linalg/index.ts"
import { distance, eye, multiply, norm, random, sizes, transpose, ε } from "./matrices.ts"

/** A well-conditioned full matrix: each routine must read only its own half. */
const full = (n: number, seed: number): Float64Array =>
  random(n, n, seed).map((x, p) => (p % (n + 1) === 0 ? 2 + x : x / Math.max(1, n)))

function half(t: Float64Array, n: number, triangle: "lower" | "upper", unit: boolean): Float64Array {
  return t.map((x, p) => {
    const i = Math.floor(p / n), j = p % n
    if (i === j) return unit ? 1 : x
    return (triangle === "lower") === (i > j) ? x : 0
  })
}

test("T·X = B and X·T = B, for both triangles, both transpositions, with and without unit diagonal", () => {
  const options = fc.record({
    triangle: fc.constantFrom("lower" as const, "upper" as const),
    side: fc.constantFrom("left" as const, "right" as const),
    transposed: fc.boolean(),
    unitDiagonal: fc.boolean(),
  })
  fc.assert(
    fc.property(sizes, fc.integer({ min: 0, max: 70 }), options, (n, count, o) => {
      const t = full(n, 5), b = random(n, count, 6)
      const x = solveTriangular(t, n, b, count, o)
      const read = half(t, n, o.triangle, o.unitDiagonal)
      const T = o.transposed ? transpose(read, n, n) : read
      const back = o.side === "left" ? multiply(T, x, n, n, count) : multiply(x, T, count, n, n)
      expect(distance(back, b)).toBeLessThanOrEqual(4 * n * ε * norm(T) * norm(x))
    }),
    { numRuns: 150 },
  )
})

test("the inverse of a triangle is its inverse, and as triangular", () => {
  fc.assert(
    fc.property(sizes, fc.constantFrom("lower" as const, "upper" as const), (n, triangle) => {
      const t = full(n, 7), inverse = invertTriangular(t, n, triangle)
      const T = half(t, n, triangle, false)
      expect(distance(multiply(T, inverse, n, n, n), eye(n))).toBeLessThanOrEqual(4 * n * ε * norm(T) * norm(inverse))
      expect(inverse).toEqual(half(inverse, n, triangle, false))
    }),
    { numRuns: 40 },
  )
})

test("a zero on the diagonal is singular, unless the diagonal is not read", () => {
  const t = Float64Array.of(1, 0, 0, 2, 0, 0, 3, 4, 5)
  expect(() => solveTriangular(t, 3, [1, 2, 3].reduce((b, x, i) => b.fill(x, i, i + 1), new Float64Array(3)), 1)).toThrow(Singular)
  expect(() => invertTriangular(t, 3)).toThrow(expect.objectContaining({ pivot: 1, code: "numeric" }))
  expect([...solveTriangular(t, 3, Float64Array.of(1, 3, 9), 1, { unitDiagonal: true })]).toEqual([1, 1, 2])
})
