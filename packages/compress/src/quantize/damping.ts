import { fail } from "@thimble/core"
import type { Fallback } from "./fallback.ts"
import { wait, type Arithmetic, type Factor, type Steps } from "./arithmetic.ts"

export interface Factored {
  readonly factor: Factor
  readonly damping: number
  readonly fallbacks: readonly Fallback[]
}

/** Times ten, so often. */
const steps = 6

/**
 * Factors H + damping·mean(diag H)·I with the columns in some order. Where that fails (H was summed in too few digits, or is
 * singular and was not damped) the damping is raised tenfold, at most six times; each step is reported.
 */
export function* factorDamped(arithmetic: Arithmetic, order: Int32Array, block: number, damping: number, dead: readonly number[]): Steps<Factored> {
  const diagonal = yield* wait(arithmetic.diagonal()), n = order.length, fallbacks: Fallback[] = []
  let mean = 0
  for (const d of diagonal) mean += d / n
  mean += dead.length / n
  for (let step = 0, used = damping; ; step++) {
    const added = new Float64Array(n).fill(used * mean)
    // Columns that no input reaches: anything will do, and the published code says 1.
    for (const j of dead) added[j]! += 1
    const factor = yield* wait(arithmetic.factor(order, added, block))
    if (!("pivot" in factor)) return { factor, damping: used, fallbacks }
    const to = used === 0 ? 1e-4 : used * 10
    if (step === steps) fail("numeric", "factorDamped", `H is not positive definite, even with a damping of ${used}`, "more calibration inputs, or a look at those there are")
    fallbacks.push({ kind: "damping", from: used, to, pivot: factor.pivot })
    used = to
  }
}
