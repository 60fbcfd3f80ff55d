import { bidiagonalise } from "./bidiagonal.ts"
import { diagonaliseBidiagonal } from "./bidiagonal-qr.ts"
import { take, type Floats } from "./input.ts"
import { factorReflectors } from "./qr.ts"
import { applyReflectors } from "./reflector.ts"
import { Rotations } from "./rotations.ts"
import { normalise, shift } from "./scale.ts"
import { copyOf, rowMajor, transposed } from "./view.ts"

/** A = U·Σ·Vᵀ; with k = min(m, n). */
export interface SVD {
  /** m×k (reduced) or m×m (full), orthonormal columns. */
  readonly u: Float64Array
  /** k singular values, descending. */
  readonly s: Float64Array
  /** Vᵀ, k×n (reduced) or n×n (full), orthonormal rows. */
  readonly vt: Float64Array
}

/**
 * Singular value decomposition of an m×n matrix of any rank: QR factors first where the matrix is not square (Chan
 * 1982), then bidiagonalisation and implicit QR sweeps (Golub & Van Loan, §8.6). Values are accurate to a small
 * multiple of ε·σ₁.
 * @throws NotConverged at twice LAPACK's limit of sweeps (never seen)
 */
export function svd(a: Floats, m: number, n: number, size: "reduced" | "full" = "reduced"): SVD {
  const data = take("svd", a, m, n)
  if (m >= n) {
    const { u, s, v, k } = tallSVD(data, m, n, size)
    return { u: copyOf(rowMajor(u, k), m, k), s, vt: copyOf(transposed(rowMajor(v, n)), n, n) }
  }
  const { u, s, v, k } = tallSVD(copyOf(transposed(rowMajor(data, n)), n, m), n, m, size)
  return { u: v, s, vt: copyOf(transposed(rowMajor(u, k)), k, n) }
}

/** The singular values of an m×n matrix alone, descending; a few times faster than {@link svd}. */
export function singularValues(a: Floats, m: number, n: number): Float64Array {
  const data = take("singularValues", a, m, n)
  const square = m >= n ? squareOf(data, m, n) : squareOf(copyOf(transposed(rowMajor(data, n)), n, m), n, m)
  const b = bidiagonalise(square.data, square.n)
  diagonaliseBidiagonal("singularValues", b.diagonal, b.above)
  return b.diagonal.map((x) => shift(Math.abs(x), square.exponent)).sort().reverse()
}

interface Square {
  /** A itself, or R of its QR factors; n×n, scaled by 2^−exponent. */
  readonly data: Float64Array
  readonly n: number
  readonly exponent: number
  /** The reflectors of Q, for an m×n matrix with m > n. */
  readonly tau?: Float64Array
}

/** Reduces an m×n matrix with m ≥ n to a square one with the same singular values; `a` then holds the reflectors. */
function squareOf(a: Float64Array, m: number, n: number): Square {
  const exponent = normalise(a)
  if (m === n) return { data: a, n, exponent }
  const tau = factorReflectors(a, m, n)
  const data = a.slice(0, n * n)
  for (let i = 0; i < n; i++) data.fill(0, i * n, i * n + i)
  return { data, n, exponent, tau }
}

/** U (m×k), s (n) and V (n×n) of an m×n matrix with m ≥ n, which is overwritten. */
function tallSVD(a: Float64Array, m: number, n: number, size: "reduced" | "full") {
  const { data, exponent, tau } = squareOf(a, m, n)
  const b = bidiagonalise(data, n)
  const left = b.left(), right = b.right()
  diagonaliseBidiagonal("svd", b.diagonal, b.above, new Rotations(left, n, n), new Rotations(right, n, n))
  const values = b.diagonal
  const order = Array.from(values, (_, i) => i).sort((i, j) => Math.abs(values[j]!) - Math.abs(values[i]!))
  const k = size === "full" ? m : n
  const u = new Float64Array(m * k), v = new Float64Array(n * n)
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const from = order[j]!
      u[i * k + j] = left[i * n + from]!
      v[i * n + j] = values[from]! < 0 ? -right[i * n + from]! : right[i * n + from]!
    }
  }
  for (let i = n; i < k; i++) u[i * k + i] = 1
  if (tau !== undefined) applyReflectors(rowMajor(a, n), tau, rowMajor(u, k), m, k)
  return { u, s: Float64Array.from(order, (i) => shift(Math.abs(values[i]!), exponent)), v, k }
}
