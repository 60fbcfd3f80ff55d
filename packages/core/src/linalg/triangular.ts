import { Singular } from "./failure.ts"
import { asFloat64, check, take, type Floats } from "./input.ts"
import { multiplyAdd } from "./product.ts"
import { copyInto, copyOf, from, identity, reversed, rowMajor, transposed, upsideDown, type View } from "./view.ts"

export interface TriangularOptions {
  /** Which half of the matrix is read; the other is taken as zero. Default "lower". */
  readonly triangle?: "lower" | "upper"
  /** Solve with the transpose of the matrix. */
  readonly transposed?: boolean
  /** Take the diagonal as ones without reading it. */
  readonly unitDiagonal?: boolean
  /** "left" solves T·X = B with B n×count (default), "right" X·T = B with B count×n. */
  readonly side?: "left" | "right"
}

/**
 * X with T·X = B or X·T = B for a triangular n×n T and `count` right-hand sides; X has the shape of B.
 * @throws Singular for a zero on the diagonal
 */
export function solveTriangular(t: Floats, n: number, b: Floats, count: number, options: TriangularOptions = {}): Float64Array {
  const { triangle = "lower", unitDiagonal = false, side = "left" } = options
  check("solveTriangular", t, n, n)
  const x = side === "left" ? take("solveTriangular", b, n, count) : take("solveTriangular", b, count, n)
  const T = rowMajor(asFloat64(t), n)
  if (!unitDiagonal) refuseZeros("solveTriangular", T, n)
  // X·T = B is Tᵀ·Xᵀ = Bᵀ: the right side is one more transposition.
  const flip = (options.transposed ?? false) !== (side === "right")
  const solve = (triangle === "lower") !== flip ? solveLower : solveUpper
  solve(flip ? transposed(T) : T, side === "left" ? rowMajor(x, count) : transposed(rowMajor(x, n)), n, count, unitDiagonal)
  return x
}

/**
 * Inverse of a triangular n×n matrix; the other half of the result is zero.
 * @throws Singular for a zero on the diagonal
 */
export function invertTriangular(t: Floats, n: number, triangle: "lower" | "upper" = "lower"): Float64Array {
  const data = take("invertTriangular", t, n, n)
  const T = rowMajor(data, n)
  refuseZeros("invertTriangular", T, n)
  clearHalf(data, n, triangle === "lower" ? "upper" : "lower")
  invertLower(triangle === "lower" ? T : reversed(T, n), n)
  return data
}

/** Zeroes what lies on one side of the diagonal of an n×n matrix. */
export function clearHalf(data: Float64Array, n: number, half: "lower" | "upper"): void {
  for (let i = 0; i < n * n; i += n + 1) {
    const row = i - (i % n)
    if (half === "lower") data.fill(0, row, i)
    else data.fill(0, i + 1, row + n)
  }
}

/** Throws {@link Singular} at the first zero on the diagonal of an n×n view. */
export function refuseZeros(op: string, t: View, n: number): void {
  for (let i = 0; i < n; i++) if (t.data[t.at + i * (t.row + t.column)] === 0) throw new Singular(op, i)
}

/** Largest triangle solved by plain loops. */
const SMALL = 32
/** Right-hand sides solved together there: 32 × 64 doubles stay in the first-level cache. */
const STRIP = 64

/** X ← L⁻¹·X for lower L (n×n) and X (n×count): halves of L, so that nearly all work is a matrix product. */
export function solveLower(l: View, x: View, n: number, count: number, unit = false): void {
  if (n === 0 || count === 0) return
  if (n <= SMALL) {
    const packed = copyOf(l, n, n)
    for (let j = 0; j < count; j += STRIP) {
      const width = Math.min(STRIP, count - j), target = from(x, 0, j)
      const strip = copyOf(target, n, width)
      substitute(packed, strip, n, width, unit)
      copyInto(target, strip, n, width)
    }
    return
  }
  const half = n >> 1
  solveLower(l, x, half, count, unit)
  multiplyAdd(from(x, half, 0), from(l, half, 0), x, n - half, count, half, -1)
  solveLower(from(l, half, half), from(x, half, 0), n - half, count, unit)
}

/** X ← U⁻¹·X for upper U: the lower solve, read from the last row up. */
export function solveUpper(u: View, x: View, n: number, count: number, unit = false): void {
  solveLower(reversed(u, n), upsideDown(x, n), n, count, unit)
}

/** Forward substitution by rows (Golub & Van Loan, algorithm 3.1.1, for many right-hand sides). */
function substitute(l: Float64Array, x: Float64Array, n: number, count: number, unit: boolean): void {
  for (let i = 0; i < n; i++) {
    const row = i * count
    let j = 0
    for (; j + 1 < i; j += 2) {
      const p = l[i * n + j]!, q = l[i * n + j + 1]!, first = j * count, second = first + count
      for (let r = 0; r < count; r++) x[row + r]! -= p * x[first + r]! + q * x[second + r]!
    }
    if (j < i) for (let r = 0, p = l[i * n + j]!, first = j * count; r < count; r++) x[row + r]! -= p * x[first + r]!
    if (!unit) for (let r = 0, p = l[i * n + i]!; r < count; r++) x[row + r]! /= p
  }
}

/** L ← L⁻¹ in place, from [[A, 0], [B, C]]⁻¹ = [[A⁻¹, 0], [−C⁻¹·B·A⁻¹, C⁻¹]]. */
export function invertLower(l: View, n: number): void {
  if (n <= SMALL) {
    const out = identity(n)
    substitute(copyOf(l, n, n), out, n, n, false)
    // Only the lower half is written: what lies above belongs to the caller.
    for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) l.data[l.at + i * l.row + j * l.column] = out[i * n + j]!
    return
  }
  const half = n >> 1, rest = n - half
  const B = from(l, half, 0), C = from(l, half, half)
  solveLower(C, B, rest, half)
  solveUpper(transposed(l), transposed(B), half, rest)
  for (let i = 0; i < rest; i++)
    for (let j = 0, p = B.at + i * B.row; j < half; j++, p += B.column) B.data[p] = -B.data[p]!
  invertLower(l, half)
  invertLower(C, rest)
}
