import { add, exp, fail, log, maximum, minimum, mul, sub, type Tensor } from "@thimble/core"
import { divergence, type Divergence, type DivergenceOptions } from "./divergence.ts"
import { kullbackLeibler } from "./kullback-leibler.ts"

export interface JensenShannonOptions extends DivergenceOptions {
  /** Weight of the teacher in the mixture, 0 … 1; ½ unless given. */
  readonly beta?: number
}

/** log(e^a + e^b) without overflow. */
function logSum(a: Tensor, b: Tensor): Tensor {
  return add(maximum(a, b), log(add(exp(sub(minimum(a, b), maximum(a, b))), 1)))
}
/** log(w·p + (1 − w)·q) from logarithms of p and q, 0 < w < 1. */
export const logMixture = (p: Tensor, q: Tensor, w: number): Tensor => logSum(add(p, Math.log(w)), add(q, Math.log1p(-w)))

/**
 * Generalized Jensen–Shannon divergence (GKD: Agarwal et al., 2023, arXiv:2306.13649, equation 1):
 *
 *     β·KL(p ‖ m) + (1 − β)·KL(q ‖ m),   m = β·p + (1 − β)·q
 *
 * At β = 0 and 1 it is what it tends to once divided by β or 1 − β: the forward and the reverse KL.
 */
export function jensenShannon({ beta = 0.5, ...options }: JensenShannonOptions = {}): Divergence {
  if (!(beta >= 0 && beta <= 1)) fail("value", "jensenShannon", `beta must lie in 0 … 1, got ${beta}`)
  return divergence(`jensenShannon(${beta})`, options, (p, q) => {
    if (beta === 0) return kullbackLeibler(p, q)
    if (beta === 1) return kullbackLeibler(q, p)
    const m = logMixture(p, q, beta)
    return add(mul(kullbackLeibler(p, m), beta), mul(kullbackLeibler(q, m), 1 - beta))
  })
}
