import { clamp, eq, grad, lt, matmul, mul, reshape, round, sign, stopGradient, sub, sum, tensor, where, type Tensor } from "@thimble/core"
import type { MatrixShape } from "../quantizer.ts"
import type { Grid } from "./grid.ts"
import { reconstruct, type Given, type GridChoice, type LearnedRounding, type ReconstructionOptions, type Setting } from "./reconstruct.ts"

export interface LearningOptions extends ReconstructionOptions {
  /** Steps that are made; 200 unless given. */
  readonly steps?: number
  /** How far the first step goes, in steps between codes; 1/steps unless given. It falls to zero. */
  readonly rate?: number
  /** What is learned: which way each weight is rounded (`rounding`), or how far the codes of each group reach, too (`both`, unless given). */
  readonly learn?: "rounding" | "both"
}
export type LearnRoundingOptions = LearningOptions & GridChoice

/** What a step changes: offsets of weights before rounding, shares of both ends of groups; and the best of each row so far. */
type State = Readonly<Record<"offsets" | "low" | "high" | "bestOffsets" | "bestLow" | "bestHigh" | "bestLoss", Tensor>>

/**
 * Learns which way to round: offsets within half a step, and shares of the ends of each group, by the signs of the gradient
 * of the change of outputs, Σ rows (w − ŵ)·H·(w − ŵ)ᵀ for H as `hessian` sums it, straight through the rounding. Each row keeps
 * what was best for it, rounding to nearest among it, and what is returned is compared once more in float64: no row is worse
 * than rounded to nearest. Steps run on the current device. Source: Cheng et al., "Optimize Weight Rounding via Signed
 * Gradient Descent for the Quantization of LLMs" (AutoRound), arXiv 2309.05516.
 */
export function learnRounding(weights: Float32Array | Float64Array, shape: MatrixShape, hessian: Float64Array, options: LearnRoundingOptions): Promise<LearnedRounding> {
  const { steps = 200, rate = 1 / steps, learn = "both" } = options
  return reconstruct<State>("learnRounding", weights, shape, hessian, { ...options, steps }, ({ weights: w, shape: [rows, columns], setting, starts }) => ({
    state: start(rows, setting.groups, setting.groups * setting.size),
    numbers: (share) => [rate * (1 - share)],
    step: (s, d, rate) => stepped(s, d, rate!, setting, learn === "both"),
    async choose({ bestOffsets, bestLow, bestHigh }) {
      const [offsets, low, high] = await Promise.all([bestOffsets, bestLow, bestHigh].map((t) => t.data())) as [Float32Array, Float32Array, Float32Array], width = setting.groups * setting.size
      return { grid: (at) => moved(starts[at]!, low[at]!, high[at]!, setting), value: (r, c, { scale }) => w[r * columns + c]! + offsets[r * width + c]! * scale }
    },
  }))
}

/** A grid whose ends were moved to shares of where they were, as it is stored. */
function moved(grid: Grid, low: number, high: number, { grids, least, most, symmetric }: Setting): Grid {
  const { scale, zero } = grid
  if (scale === 0 || (low === 1 && high === 1)) return grid
  if (symmetric) return { scale: grids.step(scale * high), zero }
  const under = zero - least, step = grids.step((scale * (high * (most - zero) + low * under)) / (most - least))
  return { scale: step, zero: Math.min(most, Math.max(least, least + Math.round((low * under * scale) / step))) }
}

function start(rows: number, groups: number, width: number): State {
  const filled = (n: number, v: number, shape: number[]): Tensor => tensor(new Float32Array(n).fill(v), { shape })
  const offsets = (): Tensor => filled(rows * width, 0, [rows, groups, width / groups]), ends = (): Tensor => filled(rows * groups, 1, [rows, groups, 1])
  return { offsets: offsets(), low: ends(), high: ends(), bestOffsets: offsets(), bestLow: ends(), bestHigh: ends(), bestLoss: filled(rows, Infinity, [rows, 1, 1]) }
}

/** A function of numbers whose gradient is that of leaving them as they are. */
const straight = (x: Tensor, of: (x: Tensor) => Tensor): Tensor => x.add(stopGradient(sub(of(x), x)))

/** No end comes closer to zero than this share of where it was. */
const leastShare = 0.1
function stepped({ offsets, low, high, bestOffsets, bestLow, bestHigh, bestLoss }: State, { weights, hessian, scales: base, zeros: from }: Given, rate: Tensor, { least, most, symmetric, groups, size }: Setting, ends: boolean): { readonly state: State; readonly loss: Tensor } {
  const rows = weights.shape[0]!, under = from.sub(least)
  // What scales are stored in is left aside: it changes a value by far less than rounding it does.
  const scale = symmetric ? base.mul(high) : base.mul(high.mul(sub(most, from)).add(low.mul(under))).mul(1 / (most - least))
  // A group of zeros has a scale of 0, and none of its values is anything else.
  const divisor = where(eq(base, 0), 1, scale)
  const zero = symmetric ? from : clamp(straight(low.mul(under).mul(base).div(divisor), round).add(least), least, most)
  const codes = clamp(straight(weights.div(divisor).add(offsets), round).add(zero), least, most)
  const change = reshape(codes.sub(zero).mul(scale).sub(weights), [rows, groups * size])
  const each = sum(mul(matmul(change, hessian), change), { axis: 1 }), loss = sum(each)
  const learned = [offsets, ...(ends ? [high] : []), ...(ends && !symmetric ? [low] : [])], [offsetSlope, highSlope, lowSlope] = grad(loss, learned)
  const away = (p: Tensor, slope: Tensor, from: number, to: number): Tensor => clamp(p.sub(sign(slope).mul(rate)), from, to)
  const found = reshape(each, [rows, 1, 1]), better = lt(found, bestLoss)
  const kept = (now: Tensor, before: Tensor): Tensor => where(better, now, before), lowest = kept(found, bestLoss)
  return {
    loss: sum(lowest),
    state: {
      offsets: away(offsets, offsetSlope!, -0.5, 0.5),
      low: lowSlope ? away(low, lowSlope, leastShare, 1) : low.add(0),
      high: highSlope ? away(high, highSlope, leastShare, 1) : high.add(0),
      bestOffsets: kept(offsets, bestOffsets), bestLow: kept(low, bestLow), bestHigh: kept(high, bestHigh), bestLoss: lowest,
    },
  }
}
