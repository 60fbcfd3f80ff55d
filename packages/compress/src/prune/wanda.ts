import { fail, showShape } from "@thimble/core"
import type { MatrixShape } from "../quantizer.ts"

/**
 * What Wanda ranks weights by: |w|·‖x‖, the magnitude of each weight times the norm of the inputs that it is multiplied with
 * (Sun et al., arXiv 2306.11695), [rows, columns]. `squares` are mean squares of the inputs by column: of Σx² any
 * multiple will do.
 */
export function wandaScores(weights: Float32Array | Float64Array, [rows, columns]: MatrixShape, squares: ArrayLike<number>): Float64Array {
  if (weights.length !== rows * columns) fail("shape", "wandaScores", `${weights.length} weights for ${showShape([rows, columns])}`)
  if (squares.length !== columns) fail("shape", "wandaScores", `${squares.length} squares for ${columns} columns`)
  const norms = Float64Array.from(squares, (s, j) => (s >= 0 && s < Infinity ? Math.sqrt(s) : fail("numeric", "wandaScores", `the mean square of input ${j} is ${s}`)))
  return Float64Array.from(weights, (w, i) => Math.abs(w) * norms[i % columns]!)
}
