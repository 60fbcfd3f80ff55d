import { fail, showShape } from "../errors.ts"
import { stopGradient } from "../grad.ts"
import type { Tensor } from "../tensor.ts"
import { eq, where } from "./elementwise.ts"
import { take } from "./indexing.ts"
import { unsqueeze } from "./movement.ts"

export interface EmbeddingOptions {
  /** Row that gets no gradient. */
  readonly paddingIndex?: number
}
/** Rows of a weight [rows, features] by their indices, of any shape: [...ids, features]. */
export function embedding(weight: Tensor, ids: Tensor, { paddingIndex }: EmbeddingOptions = {}): Tensor {
  if (weight.rank !== 2) fail("shape", "embedding", `the weight needs two axes [rows, features], got ${showShape(weight.shape)}`)
  const rows = take(weight, ids)
  if (paddingIndex === undefined) return rows
  const padding = paddingIndex < 0 ? paddingIndex + weight.shape[0]! : paddingIndex
  if (!Number.isInteger(padding) || padding < 0 || padding >= weight.shape[0]!) fail("index", "embedding", `paddingIndex ${paddingIndex} is no row of ${showShape(weight.shape)}`)
  return where(unsqueeze(eq(ids, padding), ids.rank), stopGradient(rows), rows)
}
