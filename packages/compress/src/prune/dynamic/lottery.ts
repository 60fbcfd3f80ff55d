import { fail } from "@thimble/core"
import type { Matrices } from "../../quantize/qat.ts"
import { isMasked, maskModel, type Masks } from "./masked-weight.ts"
import { globally } from "../spread/global.ts"
import { goneOf } from "../tiles.ts"
import { least } from "../sparsity.ts"

export interface LotteryOptions<M> {
  /** The share that is left at the end, of all weights of the matrices. */
  readonly left: number
  /** Rounds of training, after each of which as large a share of what is left goes. */
  readonly rounds: number
  /** Which matrices; all unless given. */
  readonly matrices?: readonly string[]
  /** Whether weights of all matrices compete (`all`, unless given), or those of each by itself. */
  readonly among?: "all" | "each"
  /** Trains a model with masks (or, at first, without) and gives it back; what it was given may be donated. */
  train(model: M, round: number): Promise<M>
}

/** The ticket: the model as it began, with what is left of it, and masks. */
export interface Ticket<M> { readonly model: M; readonly masks: Masks }

/**
 * Iterative magnitude pruning with rewinding (Frankle and Carbin, arXiv 1803.03635): train, take the smallest weights away, put the
 * others back to where they began (`start`: the first weights, or those of an early step), and again. Train what comes out once more.
 */
export async function lotteryTicket<M extends Matrices<M>>(start: M, { left, rounds, matrices = Object.keys(start.weights), among = "all", train }: LotteryOptions<M>): Promise<Ticket<M>> {
  if (!(left > 0 && left <= 1 && Number.isInteger(rounds) && rounds >= 1)) fail("value", "lotteryTicket", `${left} of the weights after ${rounds} rounds is nothing to look for`)
  let masks: Record<string, Uint8Array> = Object.fromEntries(matrices.map((path) => {
    const { shape } = start.weights[path] ?? fail("value", "lotteryTicket", `there is no matrix '${path}'`)
    return [path, new Uint8Array(shape[0] * shape[1]).fill(1)]
  }))
  for (let round = 1; round <= rounds; round++) {
    const trained = await train(maskModel(start, masks), round), scores: Record<string, Float64Array> = {}
    for (const path of matrices) {
      const weight = trained.weights[path]!, magnitudes = Float64Array.from((await weight.dense().data()) as Float32Array, Math.abs)
      // What has gone is below all that is there.
      scores[path] = magnitudes.map((m, i) => (masks[path]![i] === 1 ? m : -1))
      for (const t of Object.values(weight.parts())) if (isMasked(weight)) t.dispose()
    }
    masks = smallestGone(scores, 1 - left ** (round / rounds), among)
  }
  return { model: maskModel(start, masks), masks }
}

/** Masks without the share with the least scores. */
export function smallestGone(scores: Readonly<Record<string, Float64Array>>, share: number, among: "all" | "each"): Record<string, Uint8Array> {
  const paths = Object.keys(scores), shares = among === "each" ? paths.map(() => share) : globally().shares(paths.map((path) => ({ path, shape: [1, scores[path]!.length] as const, measured: scores[path]! })), share)
  return Object.fromEntries(paths.map((path, i) => {
    const own = scores[path]!, mask = new Uint8Array(own.length).fill(1)
    for (const at of least(own, goneOf(shares[i]!, own.length))) mask[at] = 0
    return [path, mask]
  }))
}
