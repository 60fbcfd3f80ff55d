import { fail } from "@thimble/core"
import { divergence, type DivergenceOptions } from "./divergence.ts"
import { kullbackLeibler } from "./kullback-leibler.ts"
import { labels } from "./labels.ts"
import type { Loss } from "./loss.ts"
import { sum } from "./sum.ts"

export interface SoftTargetsOptions extends DivergenceOptions {
  /** Share of the cross entropy with the labels, 0 … 1; 0 unless given. */
  readonly hard?: number
}

/**
 * Soft targets (Hinton et al., 2015, arXiv:1503.02531, §2): (1 − h)·T²·KL(teacher ‖ student) of both distributions at
 * temperature T, and h times the cross entropy with the labels at temperature 1.
 */
export function softTargets({ hard = 0, ...options }: SoftTargetsOptions = {}): Loss {
  if (!(hard >= 0 && hard <= 1)) fail("value", "softTargets", `hard must lie in 0 … 1, got ${hard}`)
  const soft = divergence("softTargets", options, kullbackLeibler)
  return hard === 0 ? soft : hard === 1 ? labels() : sum([1 - hard, soft], [hard, labels()])
}
