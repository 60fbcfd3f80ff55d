import { fail, linalg } from "@thimble/core"
import { channelPlaces, type Block, type Channels } from "@thimble/models"
import type { Matrix, Statistics } from "../recipe/method.ts"
import { gram, squares, type Statistic } from "../recipe/statistic.ts"

/** Channels of a block that stand and go together: rows of some matrices, columns of others. */
export type ChannelGroup = Block["links"]["channels"][number]
/** What channels are ranked by; see {@link channelScores}. */
export type ChannelScore = "magnitude" | "wanda" | "outputs" | "taylor" | "fisher"
/** How what the matrices of a group say of a channel is joined. */
export type Combine = "sum" | "max"

/** What is asked of the inputs of a group's matrices; of all of them, or of those alone whose columns go. */
export const scoreObserves: Readonly<Record<ChannelScore, { readonly of: "all" | "columns"; readonly statistic: Statistic } | "gradients" | undefined>> = {
  magnitude: undefined,
  wanda: { of: "all", statistic: squares },
  outputs: { of: "columns", statistic: gram },
  taylor: "gradients",
  fisher: "gradients",
}

export interface Scored {
  matrix(path: string): Matrix
  statistics(path: string): Statistics
}

/**
 * What each channel of a group is worth, by what its rows and columns hold:
 * - `magnitude`: the norm of its elements in each matrix;
 * - `wanda`: Σ |w|·‖x‖ over them, with the norm of the input that each is multiplied with (Sun et al., arXiv 2306.11695);
 * - `outputs`: ‖X·Wᵀ‖² of its columns alone: the energy of what it adds to the stream.
 * What the matrices say is joined by sum or maximum (LLM-Pruner, Ma et al., arXiv 2305.11627). (`taylor` and `fisher` need
 * gradients: `channelGradients`.)
 */
export async function channelScores(kind: Exclude<ChannelScore, "taylor" | "fisher">, group: ChannelGroup, seen: Scored, combine: Combine = "sum"): Promise<Float64Array> {
  const scores = new Float64Array(group.count)
  const join = (own: Float64Array): void => own.forEach((s, c) => (scores[c] = combine === "max" ? Math.max(scores[c]!, s) : scores[c]! + s))
  if (kind === "outputs") {
    for (const part of group.columns) join(await outputEnergy(part, group.count, seen))
    return scores
  }
  for (const [parts, axis] of [[group.rows, 0], [group.columns, 1]] as const)
    for (const part of parts) {
      const matrix = seen.matrix(part.path), norms = kind === "wanda" ? ((await seen.statistics(part.path).of(squares).data()) as Float32Array).map(Math.sqrt) : undefined
      join(elementSums(part, matrix, axis, group.count, norms))
    }
  return scores
}

function elementSums(part: Channels, { values, shape: [rows, columns] }: Matrix, axis: 0 | 1, count: number, norms: Float32Array | undefined): Float64Array {
  const sums = new Float64Array(count)
  const add = (channel: number, row: number, column: number): void => {
    const w = values[row * columns + column]!
    sums[channel]! += norms === undefined ? w * w : Math.abs(w) * norms[column]!
  }
  channelPlaces(part, axis === 0 ? rows : columns).forEach((place, i) => {
    const channel = Math.floor(i / part.size)
    if (axis === 0) for (let c = 0; c < columns; c++) add(channel, place, c)
    else for (let r = 0; r < rows; r++) add(channel, r, place)
  })
  return norms === undefined ? sums.map(Math.sqrt) : sums
}

/** Σ over a channel's columns a, b of G[a, b]·(Wₐ·W_b). */
async function outputEnergy(part: Channels, count: number, seen: Scored): Promise<Float64Array> {
  const { values, shape: [rows, columns] } = seen.matrix(part.path), g = (await seen.statistics(part.path).of(gram).data()) as Float32Array
  const places = channelPlaces(part, columns), { size } = part
  return Float64Array.from({ length: count }, (_, channel) => {
    const own = places.slice(channel * size, (channel + 1) * size), w = new Float64Array(rows * size), product = new Float64Array(size * size)
    for (let r = 0; r < rows; r++) own.forEach((c, i) => (w[r * size + i] = values[r * columns + c]!))
    const view = linalg.rowMajor(w, size)
    linalg.multiplyAdd(linalg.rowMajor(product, size), linalg.viewTransposed(view), view, size, size, rows)
    let energy = 0
    for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) energy += product[i * size + j]! * g[own[i]! * columns + own[j]!]!
    return energy
  })
}

/** Numbers of the channels with the highest scores, ascending; among equals the last. */
export function bestChannels(scores: Float64Array, keep: number): number[] {
  const wrong = scores.findIndex((s) => !Number.isFinite(s))
  if (wrong >= 0) fail("numeric", "shrink", `the score of channel ${wrong} is ${scores[wrong]}`, "look at the calibration data")
  return Array.from(scores.keys()).sort((a, b) => scores[b]! - scores[a]! || b - a).slice(0, keep).sort((a, b) => a - b)
}
