import { fail, type Tensor } from "@thimble/core"
import { attentionMap } from "./attend.ts"
import { runBlock, type Parameters, type Pass } from "./forward.ts"

/** What happens in a block of whole sequences; nodes of the graph being built, which cost nothing unless they are used. */
export interface Traced {
  /** The residual stream [batch, length, width] before the block and after it. */
  readonly before: Tensor
  readonly after: Tensor
  /** As attention gets them, normed and turned: [batch, heads, length, headSize]; keys and values have kvHeads. */
  readonly queries: Tensor
  readonly keys: Tensor
  readonly values: Tensor
  /** How much each query takes of each key: [batch, heads, length, length], rows sum to 1. */
  attention(): Tensor
}
/** Called once for each block, in their order. */
export type Trace = (layer: number, seen: Traced) => void

/** A block whose inside is shown. `mask` is what the pass hides, as attention takes it. */
export function traced(m: Parameters, layer: number, x: Tensor, pass: Pass, trace: Trace, mask: Tensor | undefined): Tensor {
  let heads: Pick<Traced, "queries" | "keys" | "values" | "attention"> | undefined
  const after = runBlock(m, layer, x, {
    ...pass,
    attend(q, k, v, at, how) {
      const window = m.config.windows?.[at] ?? 0
      heads = { queries: q, keys: k, values: v, attention: () => attentionMap(q, k, { ...how, window, ...(mask && { mask }) }) }
      return pass.attend(q, k, v, at, how)
    },
  })
  trace(layer, { before: x, after, ...(heads ?? fail("internal", "forward", `block ${layer} has no attention`)) })
  return after
}
