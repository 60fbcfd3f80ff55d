import { abs, exp, mul, sub, sum } from "@thimble/core"
import { divergence, type Divergence, type DivergenceOptions } from "./divergence.ts"

/** Total variation distance, ½·Σ |p − q| (f-DISTILL: Wen et al., 2023, arXiv:2307.15190, §3.2). */
export const totalVariation = (options: DivergenceOptions = {}): Divergence =>
  divergence("totalVariation", options, (p, q) => mul(sum(abs(sub(exp(p), exp(q))), { axis: -1 }), 0.5))
