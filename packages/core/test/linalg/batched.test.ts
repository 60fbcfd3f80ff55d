import { expect, test } from "vitest"
import { batched, cholesky, determinant, eigh, NotPositiveDefinite, solve } from "../../src/linalg/index.ts"
import { eye, random } from "./matrices.ts"

test("a batch is its matrices one by one", () => {
  const a = random(12, 4, 1), b = random(12, 2, 2)
  const { x } = batched(3, [a, b], { x: 8 }, (a, b) => ({ x: solve(a!, 4, b!, 2) }))
  for (let i = 0; i < 3; i++) expect(x.slice(8 * i, 8 * i + 8)).toEqual(solve(a.slice(16 * i, 16 * i + 16), 4, b.slice(8 * i, 8 * i + 8), 2))
  const { values, vectors } = batched(3, [a], { values: 4, vectors: 16 }, (a) => eigh(a, 4))
  expect(values.slice(4, 8)).toEqual(eigh(a.slice(16, 32), 4).values)
  expect(vectors.slice(16, 32)).toEqual(eigh(a.slice(16, 32), 4).vectors)
  expect([...batched(3, [a], { d: 1 }, (a) => ({ d: determinant(a, 4) })).d]).toEqual([0, 1, 2].map((i) => determinant(a.slice(16 * i, 16 * i + 16), 4)))
})

test("a failure tells which matrix it was", () => {
  const a = new Float64Array(27)
  for (let i = 0; i < 3; i++) a.set(eye(3), 9 * i)
  a[9 + 4] = -5
  const run = () => batched(3, [a], { l: 9 }, (a) => ({ l: cholesky(a, 3) }))
  expect(run).toThrow(NotPositiveDefinite)
  expect(run).toThrow(expect.objectContaining({ matrix: 1, pivot: 1, value: -5, message: expect.stringContaining("(matrix 1 of 3)") }))
})

test("no matrices, and sources that are no whole number of matrices", () => {
  expect(batched(0, [new Float64Array(0)], { values: 4 }, (a) => eigh(a, 2)).values).toHaveLength(0)
  expect(() => batched(3, [new Float64Array(8)], { values: 2 }, (a) => eigh(a, 2))).toThrow("batched: 8 elements are not 3 matrices of one size")
})
