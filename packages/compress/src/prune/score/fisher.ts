import type { Score } from "../score.ts"

/**
 * ½·F·w², with F the mean square of the gradient: what the loss rises by where the model is at a minimum (optimal brain damage, LeCun et
 * al., 1990, with Fisher's information for the second derivative).
 */
export const fisher = (): Score => ({
  name: "fisher", toJSON: () => ({ score: "fisher" }), gradients: "loss",
  of: ({ values }, _statistics, gradients) => Float64Array.from(values, (w, i) => 0.5 * gradients!.squares[i]! * w * w),
})
