import { NotConverged } from "./failure.ts"
import { take, type Floats } from "./input.ts"
import { hypotenuse } from "./reflector.ts"
import { rotation, type Rotation } from "./rotation.ts"
import { Rotations } from "./rotations.ts"
import { normalise, shift } from "./scale.ts"
import { tridiagonalise, type Tridiagonal } from "./tridiagonal.ts"

/** A·V = V·Λ. */
export interface Eigen {
  /** n, ascending. */
  readonly values: Float64Array
  /** V, n×n: column j belongs to value j; the columns are orthonormal. */
  readonly vectors: Float64Array
}

/**
 * Eigenvalues and eigenvectors of a symmetric n×n matrix, of which only the lower half is read: Householder
 * tridiagonalisation, then implicit QL (Golub & Van Loan, §8.3). Values are accurate to a small multiple of ε‖A‖.
 * @throws NotConverged after 30 sweeps per value (never seen)
 */
export function eigh(a: Floats, n: number): Eigen {
  const data = take("eigh", a, n, n)
  const exponent = normalise(data)
  const t = tridiagonalise(data, n)
  const basis = t.basis()
  diagonalise("eigh", t, n, new Rotations(basis, n, n))
  const order = ascending(t.diagonal)
  const vectors = new Float64Array(n * n)
  for (let i = 0; i < n * n; i += n) for (let j = 0; j < n; j++) vectors[i + j] = basis[i + order[j]!]!
  return { values: Float64Array.from(order, (j) => shift(t.diagonal[j]!, exponent)), vectors }
}

/** The eigenvalues of a symmetric n×n matrix alone, ascending; a few times faster than {@link eigh}. */
export function eigenvalues(a: Floats, n: number): Float64Array {
  const data = take("eigenvalues", a, n, n)
  const exponent = normalise(data)
  const t = tridiagonalise(data, n)
  diagonalise("eigenvalues", t, n)
  return t.diagonal.sort().map((x) => shift(x, exponent))
}

/** Indices that sort the values; ties keep their order. */
const ascending = (values: Float64Array): number[] => Array.from(values, (_, i) => i).sort((i, j) => values[i]! - values[j]!)

/** Sweeps allowed per value, as in LAPACK's dsteqr; two is usual. */
const LIMIT = 30

/** T's diagonal ← its eigenvalues, its couplings ← 0; the columns of `vectors` are rotated along. */
function diagonalise(op: string, t: Tridiagonal, n: number, vectors?: Rotations): void {
  const { diagonal: d, coupling: e } = t
  let sweeps = 0
  for (let first = 0; first < n; first++) {
    for (;;) {
      let last = first
      while (last < n - 1 && !negligible(e[last]!, d[last]!, d[last + 1]!)) last++
      if (last < n - 1) e[last] = 0
      if (last === first) break
      if (sweeps++ >= LIMIT * n) throw new NotConverged(op, e.filter((x) => x !== 0).length)
      sweep(d, e, first, last, vectors)
    }
  }
  vectors?.apply()
}

/** The second term stops couplings between two zeros; the largest element is near 1. */
const negligible = (e: number, x: number, y: number): boolean =>
  Math.abs(e) <= Number.EPSILON * (Math.abs(x) + Math.abs(y)) || Math.abs(e) < 1e-290

/** One implicit QL step with Wilkinson's shift on the unreduced block first…last (Golub & Van Loan, algorithm 8.3.2, mirrored). */
function sweep(d: Float64Array, e: Float64Array, first: number, last: number, vectors?: Rotations): void {
  const g = (d[first + 1]! - d[first]!) / (2 * e[first]!)
  const root = hypotenuse(g, 1)
  const origin = d[first]! - e[first]! / (g + (g < 0 ? -root : root))
  const rot: Rotation = { c: 1, s: 1, r: 0 }
  // x and y: the two elements that the next rotation aligns; `moved`: what the last one took from the diagonal.
  let x = d[last]! - origin, moved = 0
  vectors?.begin(last, -1, last - first)
  for (let i = last - 1; i >= first; i--) {
    const y = rot.s * e[i]!, b = rot.c * e[i]!
    rotation(x, y, rot)
    if (i < last - 1) e[i + 1] = rot.r
    const corner = d[i + 1]! - moved
    const slope = (d[i]! - corner) * rot.s + 2 * rot.c * b
    moved = rot.s * slope
    d[i + 1] = corner + moved
    x = rot.c * slope - b
    vectors?.push(rot.c, rot.s)
  }
  d[first]! -= moved
  e[first] = x
}
