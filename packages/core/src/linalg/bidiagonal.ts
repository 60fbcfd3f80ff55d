import { formReflectors, reflect } from "./reflector.ts"
import { from, rowMajor, transposed } from "./view.ts"

/** A = U·B·Vᵀ with B upper bidiagonal. */
export interface Bidiagonal {
  /** n. */
  readonly diagonal: Float64Array
  /** n, the last one 0: element i stands right of diagonal element i. */
  readonly above: Float64Array
  /** U, n×n. */
  left(): Float64Array
  /** V, n×n. */
  right(): Float64Array
}

/**
 * Householder bidiagonalisation of a square n×n matrix, which is overwritten (Golub & Van Loan, algorithm 5.4.2).
 * Each step makes two passes over what is left of A: one subtracts the last step's rank-two term and multiplies by the
 * left reflector, one multiplies by the right reflector.
 */
export function bidiagonalise(a: Float64Array, n: number): Bidiagonal {
  const diagonal = new Float64Array(n), above = new Float64Array(n)
  const tauLeft = new Float64Array(n), tauRight = new Float64Array(Math.max(0, n - 1))
  // Left reflectors by rows, for A's columns would be walked with a stride; right ones take the place of A's rows.
  const reflectors = new Float64Array(n * n)
  // A − u·zᵀ − w·vᵀ is what the last step left behind.
  let u = new Float64Array(n), v = new Float64Array(n)
  const z = new Float64Array(n), w = new Float64Array(n), sum = new Float64Array(n)
  // Column k of A as the last pass saw it.
  const stale = Float64Array.from({ length: n }, (_, i) => a[i * n]!)
  for (let k = 0; k < n; k++) {
    const column = k * n, row = k * n
    for (let i = k; i < n; i++) reflectors[column + i] = stale[i]! - u[i]! * z[k]! - w[i]! * v[k]!
    const t = (tauLeft[k] = reflect(reflectors, column + k, column + k + 1, n - k - 1))
    diagonal[k] = reflectors[column + k]!
    const nextU = reflectors.slice(column, column + n)
    nextU[k] = 1
    updateAndMultiplyLeft(a, n, k, u, z, w, v, nextU, sum)
    u = nextU
    for (let j = k + 1; j < n; j++) {
      z[j] = t * sum[j]!
      a[row + j]! -= z[j]!
    }
    if (k === n - 1) break
    const p = (tauRight[k] = reflect(a, row + k + 1, row + k + 2, n - k - 2))
    above[k] = a[row + k + 1]!
    v = new Float64Array(n)
    v.set(a.subarray(row + k + 1, row + n), k + 1)
    v[k + 1] = 1
    let dot = 0
    for (let j = k + 1; j < n; j++) dot += z[j]! * v[j]!
    multiplyRight(a, n, k + 1, v, w, stale)
    for (let i = k + 1; i < n; i++) w[i] = p * (w[i]! - u[i]! * dot)
  }
  return {
    diagonal,
    above,
    left() {
      const q = new Float64Array(n * n)
      formReflectors(transposed(rowMajor(reflectors, n)), tauLeft, rowMajor(q, n), n, n)
      return q
    },
    right() {
      const q = new Float64Array(n * n)
      if (n > 0) q[0] = 1
      formReflectors(from(transposed(rowMajor(a, n)), 1, 0), tauRight, from(rowMajor(q, n), 1, 1), n - 1, n - 1)
      return q
    },
  }
}

/** Rows and columns from k: A ← A − u·zᵀ − w·vᵀ (columns right of k only), then sum = Aᵀ·x. Two rows at a time share z, v and sum. */
function updateAndMultiplyLeft(
  a: Float64Array, n: number, k: number,
  u: Float64Array, z: Float64Array, w: Float64Array, v: Float64Array, x: Float64Array, sum: Float64Array,
): void {
  sum.fill(0, k)
  let i = k
  for (; i + 1 < n; i += 2) {
    const u0 = u[i]!, u1 = u[i + 1]!, w0 = w[i]!, w1 = w[i + 1]!, x0 = x[i]!, x1 = x[i + 1]!
    for (let j = k + 1, p = (i * n + j) | 0, q = (p + n) | 0; j < n; j++, p = (p + 1) | 0, q = (q + 1) | 0) {
      const zj = z[j]!, vj = v[j]!
      const a0 = a[p]! - (u0 * zj + w0 * vj), a1 = a[q]! - (u1 * zj + w1 * vj)
      a[p] = a0
      a[q] = a1
      sum[j]! += a0 * x0 + a1 * x1
    }
  }
  if (i < n) for (let j = k + 1, p = i * n + j; j < n; j++, p++) sum[j]! += (a[p]! -= u[i]! * z[j]! + w[i]! * v[j]!) * x[i]!
}

/** Rows and columns from k: out = A·x, four rows at a time; `first` gets column k on the way. */
function multiplyRight(a: Float64Array, n: number, k: number, x: Float64Array, out: Float64Array, first: Float64Array): void {
  let i = k
  for (; i + 3 < n; i += 4) {
    let s0 = 0, s1 = 0, s2 = 0, s3 = 0
    let p0 = (i * n + k) | 0, p1 = (p0 + n) | 0, p2 = (p1 + n) | 0, p3 = (p2 + n) | 0
    for (let j = k; j < n; j++) {
      const xj = x[j]!
      s0 += a[p0]! * xj
      s1 += a[p1]! * xj
      s2 += a[p2]! * xj
      s3 += a[p3]! * xj
      p0 = (p0 + 1) | 0
      p1 = (p1 + 1) | 0
      p2 = (p2 + 1) | 0
      p3 = (p3 + 1) | 0
    }
    for (let r = 0; r < 4; r++) first[i + r] = a[(i + r) * n + k]!
    out[i] = s0
    out[i + 1] = s1
    out[i + 2] = s2
    out[i + 3] = s3
  }
  for (; i < n; i++) {
    let sum = 0
    for (let j = k, p = i * n + k; j < n; j++, p++) sum += a[p]! * x[j]!
    first[i] = a[i * n + k]!
    out[i] = sum
  }
}
