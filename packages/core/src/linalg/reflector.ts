import { multiplyAdd } from "./product.ts"
import { exponentOf, shift } from "./scale.ts"
import { copyOf, from, rowMajor, transposed, type View } from "./view.ts"

/**
 * Householder reflector H = I − τ·v·vᵀ that maps a vector onto its pivot element: afterwards data[pivot] holds β and
 * the `count` elements from `tail` hold v without its leading 1. Returns τ. Signs as in LAPACK's dlarfg: β has the
 * opposite sign of the pivot, and τ = 0 where the tail is zero already (Golub & Van Loan, algorithm 5.1.1).
 */
export function reflect(data: Float64Array, pivot: number, tail: number, count: number): number {
  const below = norm(data, tail, count)
  if (below === 0) return 0
  const alpha = data[pivot]!
  const length = hypotenuse(alpha, below)
  if (length < 2 ** -900) {
    // Subnormal numbers have too few digits for an orthogonal H, so the vector is lifted; v and τ know no scale.
    data[pivot]! *= 2 ** 600
    for (let i = tail; i < tail + count; i++) data[i]! *= 2 ** 600
    const tau = reflect(data, pivot, tail, count)
    data[pivot]! *= 2 ** -600
    return tau
  }
  const beta = alpha < 0 ? length : -length
  for (let i = tail; i < tail + count; i++) data[i]! /= alpha - beta
  data[pivot] = beta
  return (beta - alpha) / beta
}

/** √(x² + y²) without overflow; Math.hypot may differ between engines. */
export function hypotenuse(x: number, y: number): number {
  const a = Math.abs(x), b = Math.abs(y)
  const large = a > b ? a : b, small = a > b ? b : a
  if (small === 0) return large
  return large * Math.sqrt(1 + (small / large) * (small / large))
}

/** Σ data[p + i]·data[q + i] in four partial sums, which add in parallel and round less. */
export function dot(data: Float64Array, p: number, q: number, count: number): number {
  let s0 = 0, s1 = 0, s2 = 0, s3 = 0, i = 0
  for (; i + 3 < count; i += 4) {
    s0 += data[p + i]! * data[q + i]!
    s1 += data[p + i + 1]! * data[q + i + 1]!
    s2 += data[p + i + 2]! * data[q + i + 2]!
    s3 += data[p + i + 3]! * data[q + i + 3]!
  }
  for (; i < count; i++) s0 += data[p + i]! * data[q + i]!
  return s0 + s1 + (s2 + s3)
}

/** Euclidean norm of a stretch of data, also where the squares leave the range of a double. */
function norm(data: Float64Array, at: number, count: number): number {
  let sum = dot(data, at, at, count)
  if (sum > 1e-280 && sum < 1e280) return Math.sqrt(sum)
  let largest = 0
  for (let i = at; i < at + count; i++) largest = Math.max(largest, Math.abs(data[i]!))
  if (largest === 0) return 0
  const e = exponentOf(largest)
  sum = 0
  for (let i = at; i < at + count; i++) sum += shift(data[i]!, -e) ** 2
  return shift(Math.sqrt(sum), e)
}

/** Reflectors applied together; more would not make the products faster. */
const BLOCK = 64

/**
 * C ← H₀·H₁⋯·C, or the transposed product, for C m×n. Column j of `v` (m×count) holds reflector j below its diagonal,
 * with 1 on the diagonal understood. Blocks of reflectors are applied as I − V·T·Vᵀ (Golub & Van Loan, §5.1.7).
 */
export function applyReflectors(v: View, tau: Float64Array, c: View, m: number, n: number, transpose = false): void {
  const firsts = blockStarts(tau.length)
  for (const first of transpose ? firsts : firsts.reverse()) applyOne(v, tau, first, from(c, first, 0), m, n, transpose)
}

/** The first k columns of H₀·H₁⋯ (m×k) into a view that holds zeros; as above, but skips what is known to stay zero. */
export function formReflectors(v: View, tau: Float64Array, q: View, m: number, k: number): void {
  for (let i = 0; i < k; i++) q.data[q.at + i * (q.row + q.column)] = 1
  for (const first of blockStarts(tau.length).reverse()) applyOne(v, tau, first, from(q, first, first), m, k - first, false)
}

const blockStarts = (count: number): number[] => Array.from({ length: Math.ceil(count / BLOCK) }, (_, i) => i * BLOCK)

/** Applies the block that begins at reflector `first` to a C that begins at row `first`. */
function applyOne(v: View, tau: Float64Array, first: number, c: View, m: number, n: number, transpose: boolean): void {
  const t = tau.subarray(first, first + BLOCK), rows = m - first
  const V = unitTrapezoid(from(v, first, first), rows, t.length)
  applyBlock(V, blockFactor(V, t, rows), t.length, c, rows, n, transpose)
}

/** A copy of the m×n view, stored by columns, with ones on the diagonal and zeros above. */
export function unitTrapezoid(v: View, m: number, n: number): View {
  const data = copyOf(transposed(v), n, m)
  for (let j = 0; j < n; j++) {
    data.fill(0, j * m, j * m + j)
    data[j * m + j] = 1
  }
  return transposed(rowMajor(data, m))
}

/** The upper triangle T with H₀·H₁⋯ = I − V·T·Vᵀ, V m×k (Schreiber & Van Loan 1989). */
export function blockFactor(v: View, tau: Float64Array, m: number): Float64Array {
  const k = tau.length, gram = new Float64Array(k * k), t = new Float64Array(k * k)
  multiplyAdd(rowMajor(gram, k), transposed(v), v, k, k, m)
  for (let j = 0; j < k; j++) {
    t[j * k + j] = tau[j]!
    for (let i = 0; i < j; i++) {
      let sum = 0
      for (let l = i; l < j; l++) sum += t[i * k + l]! * gram[l * k + j]!
      t[i * k + j] = -tau[j]! * sum
    }
  }
  return t
}

/** C ← (I − V·T·Vᵀ)·C, or with Tᵀ; V m×k, C m×n. */
export function applyBlock(v: View, t: Float64Array, k: number, c: View, m: number, n: number, transpose: boolean): void {
  const inner = new Float64Array(k * n), outer = new Float64Array(k * n), T = rowMajor(t, k)
  multiplyAdd(rowMajor(inner, n), transposed(v), c, k, n, m)
  multiplyAdd(rowMajor(outer, n), transpose ? transposed(T) : T, rowMajor(inner, n), k, n, k)
  multiplyAdd(c, v, rowMajor(outer, n), m, n, k, -1)
}
