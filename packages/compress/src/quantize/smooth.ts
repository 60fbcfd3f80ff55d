import { fail } from "@thimble/core"

export interface SmoothOptions {
  /** How much of the activations' range goes into the weights: 0 nothing, 1 all of it; 0.5 unless given. */
  readonly alpha?: number
}

/**
 * SmoothQuant: factors that activations are divided by and weights multiplied with, column by column, so that outlier
 * channels become easier to round: sⱼ = max|Xⱼ|^α / max|Wⱼ|^(1−α), at least 1e−5. Source: Xiao et al., arXiv 2211.10438,
 * equation 4.
 */
export function smoothScales(activations: Float32Array | Float64Array, weights: Float32Array | Float64Array, { alpha = 0.5 }: SmoothOptions = {}): Float64Array {
  if (activations.length !== weights.length) fail("shape", "smoothScales", `${activations.length} largest activations for ${weights.length} columns`)
  if (!(alpha >= 0 && alpha <= 1)) fail("value", "smoothScales", `alpha must be from 0 to 1, got ${alpha}`)
  const least = 1e-5
  return Float64Array.from(activations, (a, j) => Math.max(a ** alpha / Math.max(weights[j]!, least) ** (1 - alpha), least))
}

/** Largest magnitude of each column, over all of several matrices that read the same input. */
export function columnAbsmax(columns: number, ...matrices: readonly (Float32Array | Float64Array)[]): Float64Array {
  const most = new Float64Array(columns)
  for (const values of matrices) {
    if (values.length % Math.max(1, columns) !== 0) fail("shape", "columnAbsmax", `${values.length} values in rows of ${columns}`)
    values.forEach((v, i) => {
      if (!Number.isFinite(v)) fail("numeric", "columnAbsmax", `row ${Math.floor(i / columns)}, column ${i % columns} is ${v}`)
      most[i % columns] = Math.max(most[i % columns]!, Math.abs(v))
    })
  }
  return most
}
