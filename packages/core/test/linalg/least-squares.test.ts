import fc from "fast-check"
import { expect, test } from "vitest"
import { leastSquares, matrixRank, pseudoInverse } from "../../src/linalg/index.ts"
import { distance, multiply, norm, random, rectangles, transpose, ε } from "./matrices.ts"

// Graded matrices have no clear rank, so nothing sharp can be said about their pseudo-inverse.
const clear = rectangles.filter(({ kind }) => !kind.startsWith("graded"))

test("the four conditions of Penrose", () => {
  fc.assert(
    fc.property(clear, ({ a, m, n }) => {
      const p = pseudoInverse(a, m, n)
      expect(p).toHaveLength(n * m)
      const ap = multiply(a, p, m, n, m), pa = multiply(p, a, n, m, n)
      const bound = 20 * (m + n) * ε * norm(a) * norm(p)
      expect(distance(multiply(ap, a, m, m, n), a)).toBeLessThanOrEqual(bound * norm(a))
      expect(distance(multiply(pa, p, n, n, m), p)).toBeLessThanOrEqual(bound * norm(p))
      expect(distance(ap, transpose(ap, m, m))).toBeLessThanOrEqual(bound)
      expect(distance(pa, transpose(pa, n, n))).toBeLessThanOrEqual(bound)
    }),
  )
})

test("a least-squares solution leaves a residual at right angles to A, and is what the pseudo-inverse gives", () => {
  fc.assert(
    fc.property(clear, fc.integer({ min: 0, max: 3 }), ({ a, m, n }, count) => {
      const b = random(m, count, 9), x = leastSquares(a, m, n, b, count), p = pseudoInverse(a, m, n)
      const residual = multiply(a, x, m, n, count).map((y, i) => y - b[i]!)
      const bound = 20 * (m + n) * ε * norm(a) * norm(p) * norm(b)
      expect(norm(multiply(transpose(a, m, n), residual, n, m, count))).toBeLessThanOrEqual(bound * norm(a))
      expect(distance(x, multiply(p, b, n, m, count))).toBeLessThanOrEqual(bound * norm(p))
    }),
    { numRuns: 60 },
  )
})

test("ranks, with the tolerance of the input's own precision", () => {
  const low = multiply(random(30, 4, 1), random(4, 20, 2), 30, 4, 20)
  expect(matrixRank(low, 30, 20)).toBe(4)
  expect(matrixRank(Float32Array.from(low), 30, 20)).toBe(4)
  expect(matrixRank(Float64Array.from(Float32Array.from(low)), 30, 20)).toBe(20)
  expect(matrixRank(Float64Array.of(1, 0, 0, 1e-6), 2, 2)).toBe(2)
  expect(matrixRank(Float64Array.of(1, 0, 0, 1e-6), 2, 2, { tolerance: 1e-5 })).toBe(1)
  expect(matrixRank(new Float64Array(6), 2, 3)).toBe(0)
  expect(matrixRank(new Float64Array(0), 0, 3)).toBe(0)
})

test("values of numpy", () => {
  const a = Float32Array.of(2, -1, 3, 4, 1, -2, -1, 5, 2, 3, 0, 1)
  const x = leastSquares(a, 4, 3, Float32Array.of(1, 2, 3, 4), 1)
  expect(distance(x, [0.7059468948869871, 0.6021505376344085, 0.371955233706386])).toBeLessThan(1e-14)
  const p = [0.066491112574061956, 0.13671274961597543, -0.014044327408382752, 0.10204081632653066, -0.064516129032258063,
    0.07526881720430105, 0.17204301075268816, 0, 0.18828176431863067, -0.12442396313364053, 0.062541145490454253, 0.06122448979591838]
  expect(distance(pseudoInverse(a, 4, 3), p)).toBeLessThan(1e-15)
})
