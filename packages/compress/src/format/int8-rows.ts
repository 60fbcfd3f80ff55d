import { fail, roundHalfEven } from "@thimble/core"
import type { MatrixShape } from "../quantizer.ts"

export interface Int8RowsOptions {
  /** Columns with an element of this magnitude are outliers: zero in the codes, and their elements count for no largest magnitude. None if 0 or not given. */
  readonly threshold?: number
}
/** Rows in int8, q = round(x · 127/absmax); columns that were left out, ascending. */
export interface Int8Rows { readonly codes: Int8Array; readonly absmax: Float32Array; readonly outliers: readonly number[] }

const f = Math.fround
/**
 * What LLM.int8() makes of rows of weights, or of activations with outlier columns apart. Source: Dettmers et al., arXiv
 * 2208.07339; bitsandbytes, int8_vectorwise_quant.
 */
export function int8Rows(values: Float32Array, [rows, columns]: MatrixShape, { threshold = 0 }: Int8RowsOptions = {}): Int8Rows {
  if (values.length !== rows * columns) fail("shape", "int8Rows", `${values.length} values for [${rows}, ${columns}]`)
  if (!(threshold >= 0)) fail("value", "int8Rows", `threshold must be a magnitude, got ${threshold}`)
  const out = (v: number): boolean => threshold > 0 && Math.abs(v) >= threshold
  const codes = new Int8Array(rows * columns), absmax = new Float32Array(rows), far = new Set<number>()
  for (let r = 0, i = 0; r < rows; r++)
    for (let c = 0; c < columns; c++, i++) {
      if (!Number.isFinite(values[i]!)) fail("value", "int8Rows", `row ${r}, column ${c} is ${values[i]}`)
      if (out(values[i]!)) far.add(c)
      else absmax[r] = Math.max(absmax[r]!, Math.abs(values[i]!))
    }
  for (let r = 0, i = 0; r < rows; r++) {
    const scale = absmax[r] === 0 ? 0 : f(127 / absmax[r]!)
    for (let c = 0; c < columns; c++, i++) codes[i] = far.has(c) && (threshold > 0 && rows > 1) ? 0 : roundHalfEven(f(values[i]! * scale))
  }
  return { codes, absmax, outliers: [...far].sort((a, b) => a - b) }
}
