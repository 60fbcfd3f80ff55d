// The attention template: picks a form by the shape alone, so that a result never depends on the threads.
import type { Holes } from "../emit/kernel.ts"
import type { AttentionDims } from "./attention.block.ts"
import { fewRows } from "./attention.few.ts"
import { manyRows } from "./attention.many.ts"
import type { Template } from "./holes.ts"

/** Rows that share keys up to which keys are read as they lie; more of them are worth packing the keys for. */
const fewRowsMaximum = 8

/** result[b, h, i] = Σ_j softmax_j(scale · q[b, h, i] · k[b, g, j] + mask) · v[b, g, j] for the key head g of h. */
export function attention(holes: Holes): Template {
  const dims = holes.dims as unknown as AttentionDims
  return (dims.heads / dims.kvHeads) * dims.tq <= fewRowsMaximum ? fewRows(dims, holes) : manyRows(dims, holes)
}

export const acceptsAttention = (dims: Readonly<Record<string, number>>): boolean =>
  ["batch", "heads", "tq", "tk", "d", "dv"].every((name) => dims[name]! > 0)
