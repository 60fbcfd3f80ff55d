import { add, mul, sign, sub } from "../ops/elementwise.ts"
import { checkFactor, optimizer, zero, type Optimizer, type OptimizerOptions, type OptimizerState } from "./optimizer.ts"

export interface LionOptions extends OptimizerOptions {
  /** Share of the momentum in the direction, and decay factor of the momentum; [0.9, 0.99] unless given. */
  readonly betas?: readonly [direction: number, momentum: number]
}

/**
 * Lion (Chen et al. 2023, arXiv:2302.06675, algorithm 2); weight decay is decoupled. Its rate is usually a third to a
 * tenth of AdamW's, its weight decay as many times larger.
 *
 *     p ← p − η·(sign(β₁m + (1−β₁)g) + λp);   m ← β₂m + (1−β₂)g
 */
export function lion(options: LionOptions): Optimizer<OptimizerState<"momentum">> {
  const { betas: [b1, b2] = [0.9, 0.99] } = options
  checkFactor("lion", "betas[0]", b1)
  checkFactor("lion", "betas[1]", b2)
  return optimizer({
    name: "lion",
    options,
    slots: { momentum: zero },
    step: (_t, rate) => ({ p, g, decay, slots: { momentum } }) => {
      const direction = sign(add(mul(momentum, b1), mul(g, 1 - b1)))
      return {
        p: sub(p, mul(rate, decay === 0 ? direction : add(direction, mul(p, decay)))),
        momentum: add(mul(momentum, b2), mul(g, 1 - b2)),
      }
    },
  })
}
