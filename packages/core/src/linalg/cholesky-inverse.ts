import { factor } from "./cholesky.ts"
import { NotPositiveDefinite } from "./failure.ts"
import { asFloat64, check, take, type Floats } from "./input.ts"
import { multiplyAdd } from "./product.ts"
import { clearHalf, invertLower, refuseZeros, solveLower, solveUpper } from "./triangular.ts"
import { from, reversed, rowMajor, transposed } from "./view.ts"

/**
 * X (n×count) with A·X = B, from the lower Cholesky factor of A.
 * @throws Singular for a zero on the diagonal of the factor
 */
export function solveCholesky(l: Floats, n: number, b: Floats, count: number): Float64Array {
  check("solveCholesky", l, n, n)
  const L = rowMajor(asFloat64(l), n)
  refuseZeros("solveCholesky", L, n)
  const x = take("solveCholesky", b, n, count), X = rowMajor(x, count)
  solveLower(L, X, n, count)
  solveUpper(transposed(L), X, n, count)
  return x
}

/**
 * A⁻¹ = L⁻ᵀ·L⁻¹ (n×n, exactly symmetric) from the lower Cholesky factor L of A.
 * @throws Singular for a zero on the diagonal of the factor
 */
export function choleskyInverse(l: Floats, n: number): Float64Array {
  const m = take("choleskyInverse", l, n, n), M = rowMajor(m, n)
  refuseZeros("choleskyInverse", M, n)
  clearHalf(m, n, "upper")
  invertLower(M, n)
  const out = new Float64Array(n * n), block = Math.max(32, n >> 3)
  for (let i = 0; i < n; i += block) {
    const rows = Math.min(block, n - i)
    // Rows of M above i are zero in these columns.
    multiplyAdd(from(rowMajor(out, n), i, 0), transposed(from(M, i, i)), from(M, i, 0), rows, i + rows, n - i)
  }
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) out[j * n + i] = out[i * n + j]!
  return out
}

/**
 * The upper factor U (n×n) of the inverse of a symmetric positive definite H: H⁻¹ = Uᵀ·U, as GPTQ needs it
 * (Frantar et al. 2022, "Cholesky reformulation"). Only the lower half of H is read.
 *
 * H⁻¹ itself is never formed: with J the reversal of the index, J·H·J = L·Lᵀ gives U = J·L⁻¹·J, a third of the
 * arithmetic of factor, invert and factor again, and one rounding step less. Pivots are therefore met from the last
 * row to the first.
 * @throws NotPositiveDefinite at the first such pivot that is not above zero
 */
export function inverseUpperFactor(h: Floats, n: number): Float64Array {
  const data = take("inverseUpperFactor", h, n, n)
  // Reversal swaps the halves, so the lower half of H is read through the transpose.
  const L = reversed(transposed(rowMajor(data, n)), n)
  factor(L, n, (pivot, value) => {
    throw new NotPositiveDefinite("inverseUpperFactor", n - 1 - pivot, value)
  })
  invertLower(L, n)
  // L was stored transposed: the factor stands in the lower half of `data`, U is its mirror image.
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) {
      data[j * n + i] = data[i * n + j]!
      data[i * n + j] = 0
    }
  }
  return data
}
