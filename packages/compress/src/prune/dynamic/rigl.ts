import { fail } from "@thimble/core"
import { goneOf } from "../tiles.ts"
import { least } from "../sparsity.ts"

export interface Regrow {
  readonly mask: Uint8Array
  /** Weights that came back start at 0; the others are as they were. */
  readonly values: Float32Array
  /** How many went, and how many came back. */
  readonly changed: number
}

/**
 * Of the weights that are there a share goes, the smallest, and as many others come, those with the largest gradients (RigL, Evci
 * et al., arXiv 1911.11134, algorithm 1). `gradient` is that of all weights, also of those that are not there.
 */
export function regrow(values: Float32Array, mask: Uint8Array, gradient: Float32Array, share: number): Regrow {
  if (mask.length !== values.length || gradient.length !== values.length) fail("shape", "regrow", `${values.length} weights, ${mask.length} places and ${gradient.length} gradients`)
  if (!(share >= 0 && share <= 1)) fail("value", "regrow", `a share is from 0 to 1, got ${share}`)
  const there = [...mask.keys()].filter((i) => mask[i] === 1), away = [...mask.keys()].filter((i) => mask[i] !== 1), changed = Math.min(goneOf(share, there.length), away.length)
  const gone = least(Float64Array.from(there, (i) => Math.abs(values[i]!)), changed), come = least(Float64Array.from(away, (i) => -Math.abs(gradient[i]!)), changed)
  const next = mask.slice(), out = values.slice()
  for (const k of gone) next[there[k]!] = 0
  for (const k of come) {
    next[away[k]!] = 1
    out[away[k]!] = 0
  }
  return { mask: next, values: out, changed }
}

/** The share that goes at a step: from `share` down to 0 along half a cosine (the same, equation 1). */
export function regrowSchedule({ share, steps }: { readonly share: number; readonly steps: number }): (step: number) => number {
  if (!(share >= 0 && share <= 1 && Number.isInteger(steps) && steps >= 1)) fail("value", "regrowSchedule", `a share of ${share} over ${steps} steps is none`)
  return (step) => (step >= steps ? 0 : (share / 2) * (1 + Math.cos((Math.PI * step) / steps)))
}
