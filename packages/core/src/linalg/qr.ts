import { take, type Floats } from "./input.ts"
import { applyBlock, blockFactor, dot, formReflectors, reflect, unitTrapezoid } from "./reflector.ts"
import { normalise, shiftAll } from "./scale.ts"
import { copyInto, copyOf, from, rowMajor, transposed } from "./view.ts"

/** A = Q·R with R upper and Q's columns orthonormal. */
export interface QR {
  /** m×k. */
  readonly q: Float64Array
  /** k×n; signs as LAPACK's dgeqrf leaves them (the diagonal may be negative). */
  readonly r: Float64Array
}

/** Columns factored by plain loops. */
const PANEL = 64

/**
 * QR factors of an m×n matrix by blocked Householder reflections (Golub & Van Loan, algorithm 5.2.3).
 * `size` "reduced" gives k = min(m, n), "complete" k = m.
 */
export function qr(a: Floats, m: number, n: number, size: "reduced" | "complete" = "reduced"): QR {
  const packed = take("qr", a, m, n)
  const exponent = normalise(packed)
  const tau = factorReflectors(packed, m, n)
  const k = size === "complete" ? m : Math.min(m, n)
  const r = new Float64Array(k * n)
  for (let i = 0; i < Math.min(k, n); i++) r.set(packed.subarray(i * n + i, (i + 1) * n), i * n + i)
  shiftAll(r, exponent)
  const q = new Float64Array(m * k)
  formReflectors(rowMajor(packed, n), tau, rowMajor(q, k), m, k)
  return { q, r }
}

/** A (m×n) ← R with the reflectors of Q below its diagonal, in place; returns their factors τ. */
export function factorReflectors(a: Float64Array, m: number, n: number): Float64Array {
  const A = rowMajor(a, n), tau = new Float64Array(Math.min(m, n))
  for (let first = 0; first < tau.length; first += PANEL) {
    const count = Math.min(PANEL, tau.length - first), height = m - first
    const panel = transposed(from(A, first, first))
    const columns = copyOf(panel, count, height)
    const t = tau.subarray(first, first + count)
    factorPanel(columns, count, height, t)
    copyInto(panel, columns, count, height)
    const V = unitTrapezoid(from(A, first, first), height, count)
    applyBlock(V, blockFactor(V, t, height), count, from(A, first, first + count), height, n - first - count, true)
  }
  return tau
}

/** Householder QR of a panel stored by columns (Golub & Van Loan, algorithm 5.2.1). */
function factorPanel(a: Float64Array, columns: number, height: number, tau: Float64Array): void {
  for (let j = 0; j < columns; j++) {
    const pivot = j * height + j, rest = height - j - 1
    tau[j] = reflect(a, pivot, pivot + 1, rest)
    for (let c = pivot + height; c < columns * height; c += height) {
      const share = tau[j]! * (a[c]! + dot(a, pivot + 1, c + 1, rest))
      a[c]! -= share
      for (let i = 1; i <= rest; i++) a[c + i]! -= share * a[pivot + i]!
    }
  }
}
