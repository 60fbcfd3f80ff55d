import { fail } from "@thimble/core"
import type { Score } from "../score.ts"

/**
 * How much the loss changes if a weight goes, by its Taylor series at the weights: |g·w| to the first order (`first`, unless given;
 * Molchanov et al., arXiv 1906.10771), |g·w − ½·F·w²| with the mean square of the gradient for the second derivative (`second`;
 * Ma et al., arXiv 2305.11627, equation 5).
 */
export function taylor({ order = "first" }: { readonly order?: "first" | "second" } = {}): Score {
  if (order !== "first" && order !== "second") fail("value", "taylor", `the order must be first or second, got ${String(order)}`)
  const curved = order === "second" ? 0.5 : 0
  return {
    name: `taylor ${order}`, toJSON: () => ({ score: "taylor", order }), gradients: "loss",
    of: ({ values }, _statistics, gradients) => Float64Array.from(values, (w, i) => Math.abs(gradients!.mean[i]! * w - curved * gradients!.squares[i]! * w * w)),
  }
}
