import { add, div, maximum, mul, neg, square, sub } from "../ops/elementwise.ts"
import { expm1, sqrt } from "../ops/math.ts"
import type { Tensor } from "../tensor.ts"
import { checkFactor, checkNumber, optimizer, zero, type Optimizer, type OptimizerOptions, type OptimizerState } from "./optimizer.ts"

export interface AdamOptions extends OptimizerOptions {
  /** Decay factors of the running means of the gradient and of its square; [0.9, 0.999] unless given. */
  readonly betas?: readonly [first: number, second: number]
  /** Added to the root of the second moment; 1e-8 unless given. */
  readonly eps?: number
  /** Divide by the largest second moment so far (Reddi et al. 2018). */
  readonly amsgrad?: boolean
}
export type AdamState = OptimizerState<"first" | "second" | "largest">

/** 1 − βᵗ = −expm1(t·ln β): in f32, 1 − 0.999 itself would lose four digits. */
export const oneMinusPower = (beta: number, t: Tensor): Tensor => neg(expm1(mul(t, Math.log(beta))))

function adamRule(name: string, options: AdamOptions, decayed: "gradient" | "parameter"): Optimizer<AdamState> {
  const { betas: [b1, b2] = [0.9, 0.999], eps = 1e-8, amsgrad = false } = options
  checkFactor(name, "betas[0]", b1)
  checkFactor(name, "betas[1]", b2)
  checkNumber(name, "eps", eps)
  return optimizer({
    name,
    options,
    slots: { first: zero, second: zero, largest: (p) => (amsgrad ? zero(p) : undefined) },
    step: (t, rate) => {
      const size = div(rate, oneMinusPower(b1, t)), spread = sqrt(oneMinusPower(b2, t))
      return ({ p, g, decay, slots }) => {
        const slope = decay !== 0 && decayed === "gradient" ? add(g, mul(p, decay)) : g
        const first = add(mul(slots.first, b1), mul(slope, 1 - b1))
        const second = add(mul(slots.second, b2), mul(square(slope), 1 - b2))
        const largest = amsgrad ? maximum(slots.largest, second) : slots.largest
        const root = add(div(sqrt(amsgrad ? largest : second), spread), eps)
        const from = decay !== 0 && decayed === "parameter" ? mul(p, sub(1, mul(rate, decay))) : p
        return { p: sub(from, mul(size, div(first, root))), first, second, largest }
      }
    },
  })
}

/**
 * Adam (Kingma and Ba 2015, arXiv:1412.6980); weight decay is added to the gradient:
 *
 *     m ← β₁m + (1−β₁)g;   v ← β₂v + (1−β₂)g²;   p ← p − η·m/(1−β₁ᵗ) / (√v/√(1−β₂ᵗ) + ε)
 */
export const adam = (options: AdamOptions): Optimizer<AdamState> => adamRule("adam", options, "gradient")
/** Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101): p ← p·(1 − ηλ) before Adam's step. The decay is 0.01 unless given. */
export const adamW = (options: AdamOptions): Optimizer<AdamState> => adamRule("adamW", { weightDecay: 0.01, ...options }, "parameter")
