import { fail, type Tensor } from "@thimble/core"
import type { MatrixShape } from "../quantizer.ts"
import { later, now, type Arithmetic, type Steps } from "../quantize/arithmetic.ts"
import { exact } from "../quantize/exact.ts"
import { roundingRule, settingOf, type GptqOptions, type GptqResult, type Rounding } from "../quantize/gptq.ts"
import { onDevice } from "../quantize/on-device.ts"
import { solve, type Block, type Ready, type Rule, type Solved } from "../quantize/solver.ts"
import { checkSparsity, dropLeast, ranked, type Sparsity } from "./sparsity.ts"

export interface SparsegptOptions {
  /**
   * What share of each block becomes zero, the weights whose loss costs least, or how many of neighbours stay. A share is
   * counted as the published code does: one more weight of a block goes than ⌊share·size⌋.
   */
  readonly sparsity: Sparsity
  /** How the weights that stay are rounded, in the same pass; not at all unless given. */
  readonly round?: GptqOptions
  /** Order in which columns are replaced: as `given` (unless given), or by `activity`, the largest diagonal element of H first. */
  readonly order?: "given" | "activity"
  /** Added to the diagonal of H, in units of its mean; 0.01 unless given. */
  readonly damping?: number
  /** Columns whose weights compete, and whose corrections are applied to the others together; 128 unless given. */
  readonly block?: number
}

export interface SparsegptResult extends Solved {
  /** Which weights stay, 1, [rows, columns]. A weight that stays may be rounded to zero. */
  readonly kept: Uint8Array
  /** What was rounded, if it was. */
  readonly rounded?: Pick<GptqResult, "codes" | "scales" | "zeros" | "groupOf">
}

/**
 * Removes weights, and makes up for each with those that follow in its row (Frantar and Alistarh, arXiv 2301.00774): in each
 * block those go whose removal alone costs least, (w/Uᵢᵢ)² for w as corrected for earlier blocks; of neighbours, for w as
 * corrected so far. The solver of `solveGptq`: the sum of squared corrections is (w − ŵ)·H·(w − ŵ)ᵀ. All in float64.
 */
export const solveSparsegpt = (weights: Float32Array | Float64Array, shape: MatrixShape, hessian: Float64Array, options: SparsegptOptions): SparsegptResult =>
  now(removeWeights(weights, shape, exact("sparsegpt", hessian, ...shape), options))

/** {@link solveSparsegpt} with the large products in f32, where H is. */
export const solveSparsegptOnDevice = (weights: Float32Array | Float64Array, shape: MatrixShape, hessian: Tensor, options: SparsegptOptions): Promise<SparsegptResult> =>
  later(removeWeights(weights, shape, onDevice("sparsegpt", hessian, ...shape), options))

/** Why blocks of so many columns do not go with groups that share a grid, in a row of `n`; undefined where they do. */
export function cutGroups(round: GptqOptions, n: number, block: number): string | undefined {
  const { block: fit, size } = settingOf({ ...round, block }, n)
  return fit === block || n <= fit ? undefined : `blocks of ${block} columns cut groups of ${size}; ${fit} would not`
}

function* removeWeights(weights: Float32Array | Float64Array, shape: MatrixShape, arithmetic: Arithmetic, options: SparsegptOptions): Steps<SparsegptResult> {
  const { sparsity, round, order = "given", damping = 0.01, block = 128 } = options, [rows, n] = shape
  checkSparsity("sparsegpt", sparsity)
  if (typeof sparsity !== "number" && block % sparsity.of !== 0) fail("value", "sparsegpt", `blocks of ${block} cut runs of ${sparsity.of}`)
  if (typeof sparsity !== "number" && order === "activity") fail("value", "sparsegpt", "runs of neighbours are not neighbours in the order of activity", "order: \"given\"")
  const setting = round && settingOf({ ...round, block }, n), cut = round && cutGroups(round, n, block)
  if (cut !== undefined) fail("value", "sparsegpt", cut)
  const kept = new Uint8Array(rows * n).fill(1)
  let rounding: Rounding | undefined
  const solved = yield* solve({ op: "sparsegpt", weights, shape, order, damping, block }, arithmetic, (ready) => {
    rounding = setting && roundingRule(weights, shape, setting, ready)
    return pruningRule(kept, shape, sparsity, ready, rounding)
  })
  if (rounding === undefined) return { ...solved, kept }
  const { codes, scales, zeros, groupOf } = rounding
  return { ...solved, kept, rounded: { codes, scales, zeros, groupOf } }
}

function pruningRule(kept: Uint8Array, [rows, n]: MatrixShape, sparsity: Sparsity, { order }: Ready, rounding: Rounding | undefined): Rule {
  const runs = typeof sparsity === "number" ? undefined : sparsity, scores = new Float64Array(runs?.of ?? 0)
  return {
    begin(block: Block) {
      rounding?.begin?.(block)
      const { start, width, weights, cost } = block
      if (typeof sparsity !== "number" || sparsity === 0) return
      const all = weights.map((w, i) => (w * cost[i % width]!) ** 2), most = ranked(all.slice(), Math.floor(all.length * sparsity))
      for (let r = 0, p = 0; r < rows; r++) for (let i = 0; i < width; i++, p++) if (all[p]! <= most) kept[r * n + order[start + i]!] = 0
    },
    ahead: (place) => Math.max(rounding?.ahead?.(place) ?? 0, runs && place % runs.of === 0 ? runs.of : 0),
    see(row, place, values, cost) {
      const wanted = rounding?.ahead?.(place) ?? 0
      if (wanted > 0) rounding!.see!(row, place, values.subarray(0, wanted), cost)
      if (runs === undefined || place % runs.of !== 0) return
      // Runs are of neighbours in the order, and the order is that of columns.
      const length = Math.min(runs.of, values.length)
      for (let i = 0; i < length; i++) scores[i] = (values[i]! * cost[i]!) ** 2
      dropLeast(kept, row * n + place, scores, 0, length, length - runs.keep)
    },
    replace(row, place, own, lanes) {
      for (let l = 0, at = row * n + order[place]!; l < lanes; l++, at += n) if (kept[at] === 0) own[l] = 0
      rounding?.replace(row, place, own, lanes)
    },
  }
}
