import { asFloat64, check, type Floats } from "./input.ts"
import { multiplyAdd } from "./product.ts"
import { singularValues, svd } from "./svd.ts"
import { rowMajor, transposed } from "./view.ts"

export interface RankOptions {
  /**
   * Singular values at or below this share of the largest count as zero. Default: max(m, n) times the ε of the input's
   * own precision (2⁻²³ for float32, 2⁻⁵² for float64).
   */
  readonly tolerance?: number
}

/** Numerical rank of an m×n matrix. */
export function matrixRank(a: Floats, m: number, n: number, options: RankOptions = {}): number {
  return countAbove(singularValues(a, m, n), toleranceOf(a, m, n, options))
}

/** The Moore–Penrose inverse (n×m) of an m×n matrix of any rank. */
export function pseudoInverse(a: Floats, m: number, n: number, options: RankOptions = {}): Float64Array {
  const { u, s, vt } = svd(a, m, n)
  const k = s.length, out = new Float64Array(n * m)
  const rank = divideRows(vt, s, n, toleranceOf(a, m, n, options))
  multiplyAdd(rowMajor(out, m), transposed(rowMajor(vt, n)), transposed(rowMajor(u, k)), n, m, rank)
  return out
}

/** The X (n×count) of least norm that minimises ‖A·X − B‖, for A m×n of any rank and B m×count. */
export function leastSquares(a: Floats, m: number, n: number, b: Floats, count: number, options: RankOptions = {}): Float64Array {
  check("leastSquares", b, m, count)
  const { u, s, vt } = svd(a, m, n)
  const k = s.length, inner = new Float64Array(k * count), out = new Float64Array(n * count)
  const rank = divideRows(vt, s, n, toleranceOf(a, m, n, options))
  const B = rowMajor(asFloat64(b), count)
  multiplyAdd(rowMajor(inner, count), transposed(rowMajor(u, k)), B, rank, count, m)
  multiplyAdd(rowMajor(out, count), transposed(rowMajor(vt, n)), rowMajor(inner, count), n, count, rank)
  return out
}

function toleranceOf(a: Floats, m: number, n: number, options: RankOptions): number {
  return options.tolerance ?? Math.max(m, n) * (a instanceof Float32Array ? 2 ** -23 : 2 ** -52)
}

/** How many of the descending values lie above `tolerance` times the first. */
function countAbove(s: Float64Array, tolerance: number): number {
  let rank = 0
  while (rank < s.length && s[rank]! > tolerance * s[0]!) rank++
  return rank
}

/** Row i of Vᵀ ← row i / σᵢ for those σᵢ that count; returns how many do. */
function divideRows(vt: Float64Array, s: Float64Array, n: number, tolerance: number): number {
  const rank = countAbove(s, tolerance)
  for (let i = 0; i < rank; i++) for (let j = 0; j < n; j++) vt[i * n + j]! /= s[i]!
  return rank
}
