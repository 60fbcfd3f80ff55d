import { fail } from "@thimble/core"
import { divergence, type Divergence, type DivergenceOptions } from "./divergence.ts"
import { logMixture } from "./jensen-shannon.ts"
import { kullbackLeibler } from "./kullback-leibler.ts"

export interface SkewedOptions extends DivergenceOptions {
  /** Share of the first distribution in the mixture that it is compared with, 0 … 1; 0.1 unless given. */
  readonly alpha?: number
  /** Which comes first: the teacher (`forward`, unless given) or the student. */
  readonly direction?: "forward" | "reverse"
}

/**
 * Skewed KL (DistiLLM: Ko et al., 2024, arXiv:2402.03898, equation 4): KL(p ‖ α·p + (1 − α)·q), bounded by −log α, with
 * smaller gradients where the student is far off; in reverse KL(q ‖ α·q + (1 − α)·p).
 */
export function skewedKL({ alpha = 0.1, direction = "forward", ...options }: SkewedOptions = {}): Divergence {
  if (!(alpha >= 0 && alpha < 1)) fail("value", "skewedKL", `alpha must be in 0 ≤ alpha < 1, got ${alpha}`)
  if (direction !== "forward" && direction !== "reverse") fail("value", "skewedKL", `direction must be 'forward' or 'reverse', got '${String(direction)}'`)
  return divergence(`skewedKL(${alpha}, ${direction})`, options, (p, q) => {
    const [a, b] = direction === "forward" ? [p, q] : [q, p]
    return kullbackLeibler(a, alpha === 0 ? b : logMixture(a, b, alpha))
  })
}
