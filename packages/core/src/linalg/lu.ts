import { Singular } from "./failure.ts"
import { take, type Floats } from "./input.ts"
import { multiplyAdd } from "./product.ts"
import { solveLower, solveUpper } from "./triangular.ts"
import { copyInto, copyOf, from, identity, rowMajor, transposed } from "./view.ts"

/** P·A = L·U. */
export interface LU {
  /** n×n: U on and above the diagonal, the unit lower L below it. */
  readonly factors: Float64Array
  /** Row i of P·A is row `permutation[i]` of A. */
  readonly permutation: Int32Array
  /** Determinant of P. */
  readonly parity: 1 | -1
  /** First pivot that is exactly zero, or -1. The factors are valid all the same. */
  readonly zeroPivot: number
}

/** Columns factored by plain loops. */
const PANEL = 16

/**
 * LU factors of an n×n matrix with partial pivoting, recursive by columns (Toledo 1997): factor the left half, solve
 * and subtract for the right half, factor what is left of it.
 */
export function lu(a: Floats, n: number): LU {
  return eliminate("lu", a, n)
}

function eliminate(op: string, a: Floats, n: number): LU {
  const factors = take(op, a, n, n), A = rowMajor(factors, n)
  const permutation = Int32Array.from({ length: n }, (_, i) => i)
  let parity: 1 | -1 = 1, zeroPivot = -1

  function swap(i: number, j: number): void {
    const row = factors.slice(i * n, (i + 1) * n)
    factors.copyWithin(i * n, j * n, (j + 1) * n)
    factors.set(row, j * n)
    const p = permutation[i]!
    permutation[i] = permutation[j]!
    permutation[j] = p
    parity = parity === 1 ? -1 : 1
  }

  function columns(first: number, count: number): void {
    if (count > PANEL) {
      const half = count >> 1, middle = first + half
      columns(first, half)
      solveLower(from(A, first, first), from(A, first, middle), half, count - half, true)
      multiplyAdd(from(A, middle, middle), from(A, middle, first), from(A, first, middle), n - middle, count - half, half, -1)
      columns(middle, count - half)
      return
    }
    const panel = transposed(from(A, first, first)), height = n - first
    const packed = copyOf(panel, count, height)
    const pivots = factorPanel(packed, count, height)
    for (let j = 0; j < count; j++) {
      if (pivots[j]! > j) swap(first + j, first + pivots[j]!)
      if (zeroPivot < 0 && packed[j * height + j] === 0) zeroPivot = first + j
    }
    copyInto(panel, packed, count, height)
  }

  if (n > 0) columns(0, n)
  return { factors, permutation, parity, zeroPivot }
}

/**
 * Gaussian elimination with partial pivoting of a panel stored by columns (Golub & Van Loan, algorithm 3.4.1).
 * Returns the row each pivot was swapped with.
 */
function factorPanel(a: Float64Array, columns: number, height: number): Int32Array {
  const pivots = new Int32Array(columns)
  for (let j = 0; j < columns; j++) {
    const top = j * height
    let pivot = j
    for (let i = j + 1; i < height; i++) if (Math.abs(a[top + i]!) > Math.abs(a[top + pivot]!)) pivot = i
    pivots[j] = pivot
    if (pivot !== j) {
      for (let c = 0; c < columns * height; c += height) {
        const x = a[c + j]!
        a[c + j] = a[c + pivot]!
        a[c + pivot] = x
      }
    }
    const value = a[top + j]!
    if (value === 0) continue
    for (let i = j + 1; i < height; i++) a[top + i]! /= value
    for (let c = (j + 1) * height; c < columns * height; c += height) {
      const x = a[c + j]!
      if (x !== 0) for (let i = j + 1; i < height; i++) a[c + i]! -= x * a[top + i]!
    }
  }
  return pivots
}

/**
 * X (n×count) with A·X = B, for a general n×n A.
 * @throws Singular when a pivot is exactly zero
 */
export function solve(a: Floats, n: number, b: Floats, count: number): Float64Array {
  const right = take("solve", b, n, count)
  return substitute("solve", eliminate("solve", a, n), n, right, count)
}

/**
 * The inverse of a general n×n matrix.
 * @throws Singular when a pivot is exactly zero
 */
export function inverse(a: Floats, n: number): Float64Array {
  return substitute("inverse", eliminate("inverse", a, n), n, identity(n), n)
}

/** X with L·U·X = P·B. */
function substitute(op: string, f: LU, n: number, b: Float64Array, count: number): Float64Array {
  if (f.zeroPivot >= 0) throw new Singular(op, f.zeroPivot)
  const x = new Float64Array(n * count), X = rowMajor(x, count), A = rowMajor(f.factors, n)
  for (let i = 0; i < n; i++) x.set(b.subarray(f.permutation[i]! * count, (f.permutation[i]! + 1) * count), i * count)
  solveLower(A, X, n, count, true)
  solveUpper(A, X, n, count)
  return x
}
