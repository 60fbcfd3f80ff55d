import { compile, fail, realize, tensor, type Weight } from "@thimble/core"
import type { Model } from "@thimble/models"
import { table } from "./print.ts"

/** Milliseconds of one product with a matrix, before and after. */
export interface ProductTimes { readonly path: string; readonly form: string; readonly before: number; readonly after: number }

export interface SpeedOptions {
  /** Rows of what matrices are multiplied with: 1, a token that is decoded, unless given. */
  readonly tokens?: number
  /** Products that are timed of each; 20 unless given, of which the median counts. */
  readonly samples?: number
  /** Which matrices; those that are stored in another way than before, unless given. */
  readonly matrices?: readonly string[]
}

/**
 * How long products take on the current device, before and after, each alone and in turn: what a smaller size is worth here.
 * Prints as a table, which says where nothing is gained.
 */
export async function compareSpeed(before: Model, after: Model, { tokens = 1, samples = 20, matrices }: SpeedOptions = {}): Promise<readonly ProductTimes[] & { toString(): string }> {
  if (!(Number.isInteger(tokens) && tokens >= 1 && Number.isInteger(samples) && samples >= 1)) fail("value", "compareSpeed", `${samples} products of ${tokens} rows cannot be timed`)
  const paths = matrices ?? Object.keys(after.weights).filter((p) => before.weights[p] !== undefined && before.weights[p] !== after.weights[p]), rows: ProductTimes[] = []
  for (const path of paths) {
    const pair = [before, after].map((m) => m.weights[path] ?? fail("value", "compareSpeed", `there is no matrix '${path}'`)) as [Weight, Weight], columns = pair[0].shape[1]
    using x = tensor(Float32Array.from({ length: tokens * columns }, (_, i) => Math.sin(i)), { shape: [tokens, columns] })
    const steps = pair.map((w) => compile(() => w.apply(x))), times: number[][] = [[], []]
    await realize(x)
    for (let i = -3; i < samples; i++)
      for (const [which, step] of steps.entries()) {
        const start = performance.now()
        using y = await step()
        await y.data()
        if (i >= 0) times[which]!.push(performance.now() - start)
      }
    for (const s of steps) s.dispose()
    const [a, b] = times.map((t) => t.toSorted((p, q) => p - q)[Math.floor(t.length / 2)]!)
    rows.push({ path, form: pair[1].form, before: a!, after: b! })
  }
  return Object.defineProperty(rows, "toString", { enumerable: false, value: () => table(["matrix", "stored as", "before, ms", "after, ms", "faster"], rows.map((r) => [r.path, r.form, r.before.toFixed(3), r.after.toFixed(3), r.after < r.before ? `${(r.before / r.after).toFixed(2)} ×` : "no gain"])) })
}
