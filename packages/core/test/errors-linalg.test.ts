import { expect, test } from "vitest"
import {
  castTo, cholesky, choleskyInverse, determinant, eigh, grad, hadamardTransform, inverse, inverseUpperFactor, leastSquares, matrixRank, pseudoInverse, qr, slogdet, solve,
  solveTriangular, sum, svd, tensor, zeros,
} from "../src/index.ts"

const x = zeros([3, 4]), a = zeros([2, 3, 3]), whole = zeros([3, 3], "i32"), half = castTo(a, "bf16")

const cases: readonly [string, () => unknown][] = [
  ["inverse: needs square matrices, got [3, 4] (3 ≠ 4)", () => inverse(x)],
  ["determinant: needs square matrices, got [3, 4] (3 ≠ 4)", () => determinant(x)],
  ["slogdet: needs matrices [..., rows, columns], got [4]", () => slogdet(zeros([4]))],
  ["cholesky: needs f32 or f64, got bf16; cast to f32 first", () => cholesky(half)],
  ["choleskyInverse: needs f32 or f64, got i32; cast to f32 first", () => choleskyInverse(whole)],
  ["inverseUpperFactor: needs square matrices, got [3, 4] (3 ≠ 4)", () => inverseUpperFactor(x)],
  ["eigh: needs f32 or f64, got i32; cast to f32 first", () => eigh(whole)],
  ["qr: needs matrices [..., rows, columns], got []", () => qr(zeros([]))],
  ["qr: size must be reduced or complete, got full", () => qr(x, { size: "full" as never })],
  ["svd: needs f32 or f64, got bf16; cast to f32 first", () => svd(half)],
  ["svd: size must be reduced or full, got complete", () => svd(x, { size: "complete" as never })],
  ["solve: rows of the right side must be 3, got [2, 3, 3] and [4]", () => solve(a, zeros([4]))],
  ["solve: needs matrices [..., rows, columns], got []", () => solve(a, zeros([]))],
  ["solve: shapes do not broadcast, [2] with [5] (axis -1: 2 ≠ 5); sizes must be equal or 1", () => solve(a, zeros([5, 3, 1]))],
  ["solveTriangular: rows of the right side must be 3, got [2, 3, 3] and [4, 3]", () => solveTriangular(a, zeros([4, 3]))],
  ["solveTriangular: columns of the right side must be 3, got [2, 3, 3] and [3, 4]", () => solveTriangular(a, x, { side: "right" })],
  ["solveTriangular: triangle must be lower or upper, got diagonal", () => solveTriangular(a, a, { triangle: "diagonal" as never })],
  ["solveTriangular: side must be left or right, got top", () => solveTriangular(a, a, { side: "top" as never })],
  ["matrixRank: tolerance must be finite and ≥ 0, got NaN", () => matrixRank(x, { tolerance: NaN })],
  ["pseudoInverse: tolerance must be finite and ≥ 0, got -1", () => pseudoInverse(x, { tolerance: -1 })],
  ["leastSquares: both sides need as many rows, got [3, 4] and [4] (3 ≠ 4)", () => leastSquares(x, zeros([4]))],
  ["hadamardTransform: needs f32 or f64, got bf16; cast to f32 first", () => hadamardTransform(half)],
  ["hadamardTransform: needs at least one axis, got []", () => hadamardTransform(zeros([]))],
  ["hadamardTransform: scale must be none or orthonormal, got half", () => hadamardTransform(x, { scale: "half" as never })],
  ["hadamardTransform: no Hadamard matrix of size 6; the nearest usable sizes are 4 and 8", () => hadamardTransform(zeros([2, 6]))],
  ["inverseUpperFactor: has no gradient; stopGradient its result if none should flow", () => grad(sum(inverseUpperFactor(a)), [a])],
]
test.each(cases)("%s", (message, call) => {
  expect(call).toThrowError(expect.objectContaining({ message }))
})
test("a full decomposition has no gradient", () => {
  const y = tensor([[1, 2, 3], [4, 5, 6]])
  expect(() => grad(sum(qr(y.T, { size: "complete" }).q), [y])).toThrow("qr: has no gradient with the 3 columns of complete factors of 3 × 2 matrices; use reduced factors")
  expect(() => grad(sum(svd(y, { size: "full" }).vt), [y])).toThrow("svd: has no gradient with full factors of 2 × 3 matrices; use reduced factors")
})
