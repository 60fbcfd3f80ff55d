import { fail, showShape } from "@thimble/core"
import type { Json } from "@thimble/models"
import type { BlockShape } from "@thimble/formats"
import type { MatrixShape } from "../quantizer.ts"
import type { SparsityPattern, Within } from "./pattern.ts"
import { least } from "./sparsity.ts"

export interface Tiles {
  readonly name: string
  readonly json: Json
  readonly share: number
  readonly within: Within
  /** What a matrix is cut into; pieces at its ends may be smaller. */
  block(shape: MatrixShape): BlockShape
}

/** How many of n go: ⌊share·n⌋. A share that is meant to be a fraction of n is taken for it, however it was rounded. */
export const goneOf = (share: number, n: number): number => Math.min(n, Math.floor(share * n + 1e-9))

/** Sums of scores by tiles. */
export function tileScores(scores: Float64Array, [rows, columns]: MatrixShape, [r, c]: BlockShape): Float64Array {
  if (scores.length !== rows * columns) fail("shape", "prune", `${scores.length} scores for ${showShape([rows, columns])}`)
  if (r === 1 && c === 1) return scores
  const across = Math.ceil(columns / c), out = new Float64Array(Math.ceil(rows / r) * across)
  scores.forEach((s, i) => (out[Math.floor(Math.floor(i / columns) / r) * across + Math.floor((i % columns) / c)]! += s))
  return out
}

/** A pattern of tiles of which a share goes, those with the least scores. */
export function tiles({ name, json, share, within, block }: Tiles): SparsityPattern {
  if (!(share >= 0 && share <= 1)) fail("value", name, `the share that goes is from 0 to 1, got ${share}`)
  if (within !== "matrix" && within !== "row") fail("value", name, `within must be matrix or row, got ${String(within)}`)
  const runs = ([rows, columns]: MatrixShape, [r, c]: BlockShape): readonly [count: number, size: number] => {
    const down = Math.ceil(rows / r), across = Math.ceil(columns / c)
    return within === "row" ? [down, across] : [1, down * across]
  }
  return {
    name: `${name} ${share}${within === "row" ? " by row" : ""}`, share, within, block,
    toJSON: () => ({ ...json, share, ...(within === "row" && { within }) }),
    with: (other) => tiles({ name, json, share: other, within, block }),
    keeps(shape) {
      const own = block(shape), [count, size] = runs(shape, own)
      return Math.min(shape[0] * shape[1], count * (size - goneOf(share, size)) * own[0] * own[1])
    },
    kept(scores, shape) {
      const [, columns] = shape, own = block(shape), [r, c] = own, [count, size] = runs(shape, own), sums = tileScores(scores, shape, own)
      const gone = new Uint8Array(sums.length), across = Math.ceil(columns / c)
      for (let run = 0; run < count; run++) for (const i of least(sums.subarray(run * size, (run + 1) * size), goneOf(share, size))) gone[run * size + i] = 1
      return Uint8Array.from(scores, (_, i) => 1 - gone[Math.floor(Math.floor(i / columns) / r) * across + Math.floor((i % columns) / c)]!)
    },
  }
}
