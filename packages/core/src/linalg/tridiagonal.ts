import { formReflectors, reflect } from "./reflector.ts"
import { from, reversed, rowMajor, transposed } from "./view.ts"

/** A = Q·T·Qᵀ with T symmetric tridiagonal. */
export interface Tridiagonal {
  /** n. */
  readonly diagonal: Float64Array
  /** n, the last one 0: element i couples i and i + 1. */
  readonly coupling: Float64Array
  /** Q, n×n. */
  basis(): Float64Array
}

/**
 * Householder tridiagonalisation of the symmetric n×n matrix in the lower half of `a`, which is overwritten
 * (Golub & Van Loan, algorithm 8.3.1, from the last row up so that reflectors are stretches of rows).
 *
 * Each step needs the updated matrix times the next reflector, and that reflector only needs one row: so one pass over
 * the matrix both subtracts the last step's rank-two term and multiplies.
 */
export function tridiagonalise(a: Float64Array, n: number): Tridiagonal {
  const diagonal = new Float64Array(n), coupling = new Float64Array(n)
  // Step i has factor tau[n − 1 − i].
  const tau = new Float64Array(Math.max(0, n - 1))
  // A − v·wᵀ − w·vᵀ is what the last step left behind; v begins as zero.
  let v: Float64Array = new Float64Array(n)
  const w = new Float64Array(n), product = new Float64Array(n)
  for (let i = n - 1; i >= 0; i--) {
    const row = i * n
    for (let j = 0, vi = v[i]!, wi = w[i]!; j <= i; j++) a[row + j]! -= vi * w[j]! + wi * v[j]!
    diagonal[i] = a[row + i]!
    if (i === 0) break
    const t = reflect(a, row + i - 1, row, i - 1)
    tau[n - 1 - i] = t
    coupling[i - 1] = a[row + i - 1]!
    const x = a.slice(row, row + i)
    x[i - 1] = 1
    updateAndMultiply(a, n, i, v, w, x, product)
    let dot = 0
    for (let j = 0; j < i; j++) dot += product[j]! * x[j]!
    for (let j = 0, half = (t * t * dot) / 2; j < i; j++) w[j] = t * product[j]! - half * x[j]!
    v = x
  }
  return {
    diagonal,
    coupling,
    basis() {
      const q = new Float64Array(n * n)
      if (n > 0) q[n * n - 1] = 1
      // Counted from the last row and column, the reflectors stand below the first subdiagonal, as usual.
      const vectors = from(transposed(reversed(rowMajor(a, n), n)), 1, 0), Q = from(reversed(rowMajor(q, n), n), 1, 1)
      formReflectors(vectors, tau, Q, n - 1, n - 1)
      return q
    },
  }
}

/** Lower half of the leading i×i block: A ← A − v·wᵀ − w·vᵀ, then product = A·x. Two rows at a time share v, w and x. */
function updateAndMultiply(
  a: Float64Array, n: number, i: number, v: Float64Array, w: Float64Array, x: Float64Array, product: Float64Array,
): void {
  product.fill(0, 0, i)
  let r = 0
  for (; r + 1 < i; r += 2) {
    const v0 = v[r]!, v1 = v[r + 1]!, w0 = w[r]!, w1 = w[r + 1]!, x0 = x[r]!, x1 = x[r + 1]!
    let sum0 = 0, sum1 = 0
    let p = (r * n) | 0, q = (p + n) | 0
    for (let j = 0; j < r; j++, p = (p + 1) | 0, q = (q + 1) | 0) {
      const vj = v[j]!, wj = w[j]!, xj = x[j]!
      const a0 = a[p]! - (v0 * wj + w0 * vj), a1 = a[q]! - (v1 * wj + w1 * vj)
      a[p] = a0
      a[q] = a1
      sum0 += a0 * xj
      sum1 += a1 * xj
      product[j]! += a0 * x0 + a1 * x1
    }
    const corner = (a[p]! -= 2 * v0 * w0), side = (a[q]! -= v1 * w0 + w1 * v0), end = (a[q + 1]! -= 2 * v1 * w1)
    product[r] = sum0 + corner * x0 + side * x1
    product[r + 1] = sum1 + side * x0 + end * x1
  }
  if (r < i) {
    let sum = 0
    for (let j = 0, p = r * n; j <= r; j++) {
      const value = (a[p + j]! -= v[r]! * w[j]! + w[r]! * v[j]!)
      sum += value * x[j]!
      if (j < r) product[j]! += value * x[r]!
    }
    product[r] = sum
  }
}
