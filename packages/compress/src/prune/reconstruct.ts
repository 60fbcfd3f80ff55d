import { fail, linalg, showShape } from "@thimble/core"
import type { MatrixShape } from "../quantizer.ts"

export interface ReconstructOptions {
  /** Keeps what stays near to what it was, in means of H's diagonal; 0.01 unless given. */
  readonly damping?: number
}

/**
 * The columns of a matrix that stay, changed so that its outputs come as near as they can to what they were with all of them:
 * least squares over the inputs, of which H = XᵀX [columns, columns] tells all that is needed. [rows, kept].
 */
export function reconstructColumns(values: Float32Array | Float64Array, [rows, columns]: MatrixShape, h: Float32Array | Float64Array, kept: readonly number[], { damping = 0.01 }: ReconstructOptions = {}): Float64Array {
  if (values.length !== rows * columns || h.length !== columns * columns) fail("shape", "reconstructColumns", `${values.length} values and ${h.length} elements of H for ${showShape([rows, columns])}`)
  const stays = new Set(kept), gone = Array.from({ length: columns }, (_, c) => c).filter((c) => !stays.has(c)), k = kept.length, n = gone.length
  const a = new Float64Array(k * k), cross = new Float64Array(k * n), lost = new Float64Array(rows * n)
  kept.forEach((row, i) => {
    kept.forEach((c, j) => (a[i * k + j] = h[row * columns + c]!))
    gone.forEach((c, j) => (cross[i * n + j] = h[row * columns + c]!))
  })
  for (let r = 0; r < rows; r++) gone.forEach((c, j) => (lost[r * n + j] = values[r * columns + c]!))
  let mean = 0
  for (let i = 0; i < k; i++) mean += a[i * k + i]! / k
  // Where no input ever came, there is nothing to make up for.
  for (let i = 0; i < k; i++) a[i * k + i]! += damping * mean || 1
  // W_kept + W_gone·H_gone,kept·(H_kept + λ)⁻¹: the ridge draws to what was there, not to nothing.
  const right = new Float64Array(k * rows)
  linalg.multiplyAdd(linalg.rowMajor(right, rows), linalg.rowMajor(cross, n), linalg.viewTransposed(linalg.rowMajor(lost, n)), k, rows, n)
  const change = linalg.solveCholesky(linalg.cholesky(a, k), k, right, rows), out = new Float64Array(rows * k)
  for (let r = 0; r < rows; r++) kept.forEach((c, i) => (out[r * k + i] = values[r * columns + c]! + change[i * rows + r]!))
  return out
}
