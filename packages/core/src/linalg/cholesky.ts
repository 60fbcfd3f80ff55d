import { NotPositiveDefinite } from "./failure.ts"
import { take, type Floats } from "./input.ts"
import { multiplyAdd } from "./product.ts"
import { clearHalf, solveLower } from "./triangular.ts"
import { copyOf, from, rowMajor, transposed, type View } from "./view.ts"

/**
 * The lower factor L of a symmetric positive definite n×n matrix, A = L·Lᵀ. Only the lower half of A is read.
 * @throws NotPositiveDefinite at the first pivot that is not above zero
 */
export function cholesky(a: Floats, n: number): Float64Array {
  const data = take("cholesky", a, n, n)
  factor(rowMajor(data, n), n, (pivot, value) => {
    throw new NotPositiveDefinite("cholesky", pivot, value)
  })
  clearHalf(data, n, "upper")
  return data
}

/** Largest matrix factored by plain loops. */
const SMALL = 32

/**
 * Lower half of A ← L, in place: factor the first half, solve for the block below it, subtract its product from the
 * second half, factor that (Golub & Van Loan, §4.2.6, with blocks that halve instead of a fixed size).
 */
export function factor(a: View, n: number, refuse: (pivot: number, value: number) => never, first = 0): void {
  if (n <= SMALL) return factorSmall(a, n, refuse, first)
  const half = n >> 1, rest = n - half
  factor(a, half, refuse, first)
  const below = from(a, half, 0), corner = from(a, half, half)
  solveLower(a, transposed(below), half, rest)
  subtractSquare(corner, below, rest, half)
  factor(corner, rest, refuse, first + half)
}

/** Lower half of C ← C − B·Bᵀ, with B n×k; C's upper half is scratch. */
function subtractSquare(c: View, b: View, n: number, k: number): void {
  const block = Math.max(SMALL, n >> 3)
  for (let i = 0; i < n; i += block) {
    const rows = Math.min(block, n - i)
    multiplyAdd(from(c, i, 0), from(b, i, 0), transposed(b), rows, i + rows, k, -1)
  }
}

/** Cholesky by rows, every inner loop a dot product of two rows (Golub & Van Loan, §4.2.5). */
function factorSmall(a: View, n: number, refuse: (pivot: number, value: number) => never, first: number): void {
  const l = copyOf(a, n, n)
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = l[i * n + j]!
      for (let k = 0, p = i * n, q = j * n; k < j; k++) sum -= l[p + k]! * l[q + k]!
      if (j < i) l[i * n + j] = sum / l[j * n + j]!
      else if (sum > 0) l[i * n + i] = Math.sqrt(sum)
      else refuse(first + i, sum)
      a.data[a.at + i * a.row + j * a.column] = l[i * n + j]!
    }
  }
}
