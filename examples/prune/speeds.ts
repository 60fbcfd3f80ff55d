import type { Model } from "@thimble/models"
import { dispose, prunedModel, type Bench } from "./measured.ts"
import type { Row } from "./rows.ts"
import { smallest, storedIn } from "./stored.ts"

/** Tokens a second that a row's model decodes, of the first seed, and that the original does, in turns with it. */
export interface Speed { readonly store: string; readonly tokensPerSecond: number; readonly original: number }

const count = 128
/** Milliseconds per token, the first one, which comes with the reading of the prompt, left out. */
async function decode(model: Model, prompt: readonly number[]): Promise<number> {
  let first = 0, at = 0
  for await (const _ of model.generate([...prompt], { maxTokens: count, stopTokens: [] }).tokens()) if (at++ === 0) first = performance.now()
  return (performance.now() - first) / (at - 1)
}

/** Decodes with both in turns, so that what else the machine does falls on both, and takes the fastest of each: what it does only ever slows. */
export async function speedOf(row: Row, bench: Bench, prompt: readonly number[], rounds: number): Promise<Speed> {
  const left = await prunedModel(row, 0, bench), store = row.store ?? (await smallest(left)).store, small = await storedIn(left, store)
  const models = [bench.model, small], times: number[][] = [[], []]
  for (const m of models) await decode(m, prompt)
  for (let round = 0; round < rounds; round++) for (const [i, m] of models.entries()) times[i]!.push(await decode(m, prompt))
  dispose([left, small], bench.model)
  const [original, own] = times.map((t) => 1000 / Math.min(...t))
  return { store: typeof store === "string" ? store : store.name, tokensPerSecond: own!, original: original! }
}
