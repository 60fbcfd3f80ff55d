import { fail } from "@thimble/core"
import { methodOf, type ParseOptions } from "./json.ts"
import { on, type Rule } from "./rules.ts"
import type { Sensitivities } from "./sensitivity.ts"

/** What the matrices of a table may take, all together: stored bytes, or bits by element. */
export type Budget = { readonly bytes: number } | { readonly bitsPerWeight: number }

/** A candidate for each matrix. */
export interface Allocation {
  /** What `quantize` takes. */
  readonly rules: readonly Rule[]
  readonly bytes: number
  readonly bitsPerWeight: number
  /** The sum of what was measured: no other choice that fits the budget has a smaller one. */
  readonly loss: number
}

/** Choices so far that no other is both smaller and better than, as a chain back through the matrices. */
interface State { readonly bytes: number; readonly loss: number; readonly choice: number; readonly before: State | undefined }

/**
 * Chooses a candidate for each matrix, so that the sum of losses is the least that fits a budget: a multiple-choice knapsack,
 * solved exactly by keeping, matrix by matrix, all choices that are not dominated (Kellerer, Pferschy and Pisinger, "Knapsack
 * Problems", 2004, chapter 11). The sum takes errors in different matrices to be independent.
 */
export function allocate({ matrices }: Sensitivities, budget: Budget, options?: ParseOptions): Allocation {
  const size = matrices.reduce((n, { shape }) => n + shape[0] * shape[1], 0)
  const most = "bytes" in budget ? budget.bytes : (budget.bitsPerWeight * size) / 8
  if (!(most > 0 && Number.isFinite(most))) fail("value", "allocate", `a budget is a number above 0, got ${JSON.stringify(budget)}`)
  // What the matrices that are still to come take at least.
  const least = matrices.map(({ candidates }) => candidates.reduce((n, c) => Math.min(n, c.bytes), Infinity)), rest = least.map((_, i) => least.slice(i + 1).reduce((a, b) => a + b, 0))
  const smallest = least.reduce((a, b) => a + b, 0)
  if (smallest > most) fail("value", "allocate", `the smallest candidates take ${smallest} bytes, ${((8 * smallest) / size).toFixed(3)} bits per weight, more than the budget of ${Math.floor(most)}`, "add candidates of fewer bits, or raise the budget")
  let states: State[] = [{ bytes: 0, loss: 0, choice: -1, before: undefined }]
  for (const [i, { candidates }] of matrices.entries()) {
    const next: State[] = []
    for (const before of states) for (const [choice, { bytes, loss }] of candidates.entries()) if (before.bytes + bytes + rest[i]! <= most) next.push({ bytes: before.bytes + bytes, loss: before.loss + loss, choice, before })
    // From small to large; of those that stay, each is better than all smaller ones.
    next.sort((a, b) => a.bytes - b.bytes || a.loss - b.loss || a.choice - b.choice)
    states = next.filter(((best) => (s: State) => s.loss < best && ((best = s.loss), true))(Infinity))
  }
  const chosen = states.at(-1)!, choices: number[] = []
  for (let s: State | undefined = chosen; s?.before !== undefined; s = s.before) choices.unshift(s.choice)
  return {
    rules: matrices.map(({ path, candidates }, i) => on(path, methodOf(candidates[choices[i]!]!.method, options))),
    bytes: chosen.bytes, bitsPerWeight: (8 * chosen.bytes) / Math.max(1, size), loss: chosen.loss,
  }
}
