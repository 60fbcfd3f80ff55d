import { add, div, maximum, mul, square, sub } from "../ops/elementwise.ts"
import { sqrt } from "../ops/math.ts"
import { checkFactor, checkNumber, optimizer, zero, type Optimizer, type OptimizerOptions, type OptimizerState } from "./optimizer.ts"

export interface RmspropOptions extends OptimizerOptions {
  /** Decay factor α of the running mean of squares; 0.99 unless given. */
  readonly alpha?: number
  /** Added to the root; 1e-8 unless given. */
  readonly eps?: number
  /** Share of the last velocity that is kept; 0 unless given. */
  readonly momentum?: number
  /** Divide by the deviation from the running mean, instead of from zero (Graves 2013). */
  readonly centered?: boolean
}

/**
 * RMSprop (Tieleman and Hinton 2012), as in torch:
 *
 *     g ← g + λp;   s ← αs + (1−α)g²;   a ← αa + (1−α)g (centered);   b ← μb + g/(√(s − a²) + ε);   p ← p − ηb
 */
export function rmsprop(options: RmspropOptions): Optimizer<OptimizerState<"squares" | "mean" | "velocity">> {
  const { alpha = 0.99, eps = 1e-8, momentum = 0, centered = false } = options
  checkFactor("rmsprop", "alpha", alpha)
  checkFactor("rmsprop", "momentum", momentum)
  checkNumber("rmsprop", "eps", eps)
  return optimizer({
    name: "rmsprop",
    options,
    slots: { squares: zero, mean: (p) => (centered ? zero(p) : undefined), velocity: (p) => (momentum > 0 ? zero(p) : undefined) },
    step: (_t, rate) => ({ p, g, decay, slots }) => {
      const slope = decay === 0 ? g : add(g, mul(p, decay))
      const squares = add(mul(slots.squares, alpha), mul(square(slope), 1 - alpha))
      const mean = centered ? add(mul(slots.mean, alpha), mul(slope, 1 - alpha)) : slots.mean
      // Rounding can leave a variance just below zero.
      const scaled = div(slope, add(sqrt(centered ? maximum(sub(squares, square(mean)), 0) : squares), eps))
      const velocity = momentum > 0 ? add(mul(slots.velocity, momentum), scaled) : slots.velocity
      return { p: sub(p, mul(rate, momentum > 0 ? velocity : scaled)), squares, mean, velocity }
    },
  })
}
