import { fail } from "../errors.ts"
import { add, castTo, mul, ne, sub } from "../ops/elementwise.ts"
import { checkFactor, optimizer, zero, type Optimizer, type OptimizerOptions, type OptimizerState } from "./optimizer.ts"

export interface SgdOptions extends OptimizerOptions {
  /** Share μ of the last velocity that is kept, 0 ≤ μ < 1; 0 unless given. */
  readonly momentum?: number
  /** Share of the gradient that the velocity leaves out after the first step, 0 … 1; 0 unless given. */
  readonly dampening?: number
  /** Look ahead by one velocity (Sutskever et al. 2013). */
  readonly nesterov?: boolean
}

/**
 * Stochastic gradient descent, with Polyak's or Nesterov's momentum, as in torch:
 *
 *     g ← g + λp;   b₁ = g,  bₜ = μ·bₜ₋₁ + (1 − dampening)·g;   p ← p − η·(b, or g + μ·b)
 */
export function sgd(options: SgdOptions): Optimizer<OptimizerState<"velocity">> {
  const { momentum = 0, dampening = 0, nesterov = false } = options
  checkFactor("sgd", "momentum", momentum)
  if (!(dampening >= 0 && dampening <= 1)) fail("value", "sgd", `dampening must be in 0 … 1, got ${dampening}`)
  if (nesterov && (momentum === 0 || dampening !== 0)) fail("value", "sgd", `nesterov needs momentum > 0 and no dampening, got ${momentum} and ${dampening}`)
  return optimizer({
    name: "sgd",
    options,
    slots: { velocity: (p) => (momentum === 0 ? undefined : zero(p)) },
    step: (t, rate) => {
      const share = dampening === 0 ? undefined : sub(1, mul(castTo(ne(t, 1), t.dtype), dampening))
      return ({ p, g, decay, slots: { velocity } }) => {
        const slope = decay === 0 ? g : add(g, mul(p, decay))
        if (momentum === 0) return { p: sub(p, mul(rate, slope)), velocity }
        const next = add(mul(velocity, momentum), share === undefined ? slope : mul(slope, share))
        return { p: sub(p, mul(rate, nesterov ? add(slope, mul(next, momentum)) : next)), velocity: next }
      }
    },
  })
}
