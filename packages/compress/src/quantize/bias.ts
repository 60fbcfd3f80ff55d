import { fail } from "@thimble/core"
import type { MatrixShape } from "../quantizer.ts"

/**
 * What has to be added to a bias so that rounding does not move the mean of any output: Δb = (W − Ŵ)·E[x] for the mean input of
 * each column. Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv
 * 1906.04721, section 4.2.
 */
export function biasCorrection(weights: Float32Array | Float64Array, rounded: Float32Array | Float64Array, [rows, columns]: MatrixShape, means: Float32Array | Float64Array): Float64Array {
  if (weights.length !== rows * columns || rounded.length !== weights.length) fail("shape", "biasCorrection", `${weights.length} weights and ${rounded.length} rounded ones for [${rows}, ${columns}]`)
  if (means.length !== columns) fail("shape", "biasCorrection", `${means.length} mean inputs for ${columns} columns`)
  const out = new Float64Array(rows)
  for (let r = 0, i = 0; r < rows; r++) for (let c = 0; c < columns; c++, i++) out[r]! += (weights[i]! - rounded[i]!) * means[c]!
  const wrong = out.findIndex((v) => !Number.isFinite(v))
  return wrong < 0 ? out : fail("numeric", "biasCorrection", `row ${wrong} moves by ${out[wrong]}`, "weights and mean inputs must be finite")
}
