import { fail, linalg, showShape } from "@thimble/core"
import type { MatrixShape } from "../quantizer.ts"

/** W ≈ left·right. */
export interface Factors {
  /** [rows, rank] */
  readonly left: Float64Array
  /** [rank, columns] */
  readonly right: Float64Array
}

/**
 * The nearest product of a matrix [rows, rank] with one [rank, columns]: nearest in its elements (Eckart and Young, 1936); or,
 * with H = XᵀX [columns, columns] of its inputs, in its outputs X·Wᵀ. There, with a root R of H, H = R·Rᵀ, the left singular vectors of
 * W·R span the outputs that matter most, and W is projected on the first of them (Wang et al., SVD-LLM, arXiv 2403.07378, without
 * the inverse of a root: H may be singular).
 */
export function lowRankFactors(values: Float32Array | Float64Array, [rows, columns]: MatrixShape, rank: number, h?: Float32Array | Float64Array): Factors {
  const most = Math.min(rows, columns)
  if (!(Number.isInteger(rank) && rank >= 1 && rank <= most)) fail("value", "lowRankFactors", `the rank of ${showShape([rows, columns])} is from 1 to ${most}, got ${rank}`)
  if (values.length !== rows * columns || (h !== undefined && h.length !== columns * columns)) fail("shape", "lowRankFactors", `${values.length} values and ${h?.length ?? 0} elements of H for ${showShape([rows, columns])}`)
  const w = Float64Array.from(values), { u, s } = linalg.svd(h === undefined ? w : times(w, root(h, columns), rows, columns), rows, columns)
  const left = new Float64Array(rows * rank), right = new Float64Array(rank * columns), k = most, scales = Array.from({ length: rank }, (_, i) => (s[i]! > 0 ? Math.sqrt(s[i]!) : 0))
  for (let r = 0; r < rows; r++) for (let i = 0; i < rank; i++) left[r * rank + i] = u[r * k + i]!
  linalg.multiplyAdd(linalg.rowMajor(right, columns), linalg.viewTransposed(linalg.rowMajor(left, rank)), linalg.rowMajor(w, columns), rank, columns, rows)
  if (h !== undefined) return { left, right }
  // Both of a size, so that both round well: of elements, singular values say how large right is.
  for (let i = 0; i < rank; i++) {
    const scale = scales[i]!
    for (let r = 0; r < rows; r++) left[r * rank + i]! *= scale
    for (let c = 0; c < columns; c++) right[i * columns + c] = scale === 0 ? 0 : right[i * columns + c]! / scale
  }
  return { left, right }
}

/** R with R·Rᵀ = H. */
function root(h: Float32Array | Float64Array, n: number): Float64Array {
  const { values, vectors } = linalg.eigh(h, n), out = new Float64Array(n * n)
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) out[i * n + j] = vectors[i * n + j]! * Math.sqrt(Math.max(0, values[j]!))
  return out
}

function times(a: Float64Array, b: Float64Array, rows: number, n: number): Float64Array {
  const out = new Float64Array(rows * n)
  linalg.multiplyAdd(linalg.rowMajor(out, n), linalg.rowMajor(a, n), linalg.rowMajor(b, n), rows, n, n)
  return out
}
