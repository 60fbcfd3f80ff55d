import { fail, linalg } from "@thimble/core"

/** Something that a solver did because it could not do what was asked. */
export type Fallback =
  | { readonly kind: "dead columns"; readonly columns: readonly number[] }
  | { readonly kind: "damping"; readonly from: number; readonly to: number; readonly pivot: number }

export interface Factored {
  /** Upper triangular V with H + damping·mean(diag H)·I = V·Vᵀ, so that V⁻¹ is the upper factor U of H⁻¹ = Uᵀ·U. */
  readonly factor: Float64Array
  readonly damping: number
  readonly fallbacks: readonly Fallback[]
}

/** Times ten, so often. */
const steps = 6

/**
 * Factors a damped H. Where that fails (H was summed in too few digits, or is singular and was not damped) the damping is
 * raised tenfold, at most six times; each step is reported.
 */
export function factorDamped(h: Float64Array, n: number, damping: number): Factored {
  let mean = 0
  for (let i = 0; i < n; i++) mean += h[i * n + i]! / n
  const fallbacks: Fallback[] = []
  for (let step = 0, used = damping; ; step++) {
    // From the last row and column to the first, a lower factor is an upper one.
    const turned = Float64Array.from(h).reverse()
    for (let i = 0; i < n; i++) turned[i * n + i]! += used * mean
    try {
      return { factor: linalg.cholesky(turned, n).reverse(), damping: used, fallbacks }
    } catch (error) {
      if (!(error instanceof linalg.NotPositiveDefinite)) throw error
      const to = used === 0 ? 1e-4 : used * 10
      if (step === steps) fail("numeric", "factorDamped", `H is not positive definite, even with a damping of ${used}`, "more calibration inputs, or a look at those there are")
      fallbacks.push({ kind: "damping", from: used, to, pivot: n - 1 - error.pivot })
      used = to
    }
  }
}
