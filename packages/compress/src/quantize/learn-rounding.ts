import { clamp, compile, fail, grad, linalg, lt, matmul, mul, reshape, round, showShape, sign, stopGradient, sub, sum, tensor, where, type Tensor } from "@thimble/core"
import type { MatrixShape, SolvableFormat } from "../quantizer.ts"
import { integerGrids, type Grid, type GridOptions, type Grids } from "./grid.ts"
import type { Solution } from "./solved.ts"

export interface LearningOptions {
  /** Steps that are made; 200 unless given. */
  readonly steps?: number
  /** How far the first step goes, in steps between codes; 1/steps unless given. It falls to zero. */
  readonly rate?: number
  /** What is learned: which way each weight is rounded (`rounding`), or how far the codes of each group reach, too (`both`, unless given). */
  readonly learn?: "rounding" | "both"
  /** Ends it, between two steps. */
  readonly signal?: AbortSignal
  /** Ten times or so: steps made, and the loss of the best of each row so far. */
  readonly onProgress?: (progress: { readonly step: number; readonly steps: number; readonly loss: number }) => void
}
/** Integers on grids of their own, of so many neighbours along a row (the whole `row` unless given), or as a format stores them. */
export type LearnRoundingOptions = LearningOptions & ((GridOptions & { readonly group?: number | "row"; readonly format?: undefined }) | { readonly format: SolvableFormat })

/** `storedSolution` and `solvedWeight` store it. */
export interface LearnedRounding extends Solution {
  /** ŵ [rows, columns]. */
  readonly values: Float64Array
  /** (w − ŵ)·H·(w − ŵ)ᵀ of each row, and the same rounded to nearest: nowhere less. */
  readonly loss: Float64Array
  readonly plainLoss: Float64Array
}

/** What a step changes: offsets of weights before rounding, shares of both ends of groups; and the best of each row so far. */
type State = Readonly<Record<"offsets" | "low" | "high" | "bestOffsets" | "bestLow" | "bestHigh" | "bestLoss", Tensor>>
/** What stays: weights [rows, groups, size], H, steps and zeros of the grids they start on [rows, groups, 1]. */
type Given = Readonly<Record<"weights" | "hessian" | "scales" | "zeros", Tensor>>

/**
 * Learns which way to round: offsets within half a step, and shares of the ends of each group, by the signs of the gradient
 * of the change of outputs, Σ rows (w − ŵ)·H·(w − ŵ)ᵀ for H as `hessian` sums it, straight through the rounding. Each row keeps
 * what was best for it, rounding to nearest among it, and what is returned is compared once more in float64: no row is worse
 * than rounded to nearest. Steps run on the current device. Source: Cheng et al., "Optimize Weight Rounding via Signed
 * Gradient Descent for the Quantization of LLMs" (AutoRound), arXiv 2309.05516.
 */
export async function learnRounding(weights: Float32Array | Float64Array, shape: MatrixShape, hessian: Float64Array, options: LearnRoundingOptions): Promise<LearnedRounding> {
  const [rows, columns] = shape, { steps = 200, rate = 1 / steps, learn = "both", signal, onProgress } = options
  check(weights, shape, hessian, steps)
  const setting = settingOf(options, columns), { size, groups } = setting, width = groups * size
  const w = Float64Array.from(weights), starts: Grid[] = []
  for (let r = 0; r < rows; r++) for (let g = 0; g < groups; g++) starts.push(setting.grids.fit(w.slice(r * columns + g * size, r * columns + Math.min(columns, (g + 1) * size))))
  const nearest = lay(w, shape, setting, (at) => starts[at]!, () => 0), plainLoss = lossOf(w, nearest.values, hessian, shape)
  const order = Int32Array.from({ length: columns }, (_, i) => i), groupOf = order.map((j) => Math.floor(j / size))
  if (w.length === 0) return { ...nearest, groupOf, order, loss: plainLoss, plainLoss }

  const given = upload({ weights: padded(w, rows, columns, width), hessian: squared(hessian, columns, width), scales: Float32Array.from(starts, (g) => g.scale), zeros: Float32Array.from(starts, (g) => g.zero) }, rows, groups, size, width)
  let state: State = start(rows, groups, width)
  const step = compile((s: State, d: Given, rate: Tensor) => stepped(s, d, rate, setting, learn === "both"), { donate: [0] })
  try {
    for (let i = 0; i <= steps; i++) {
      signal?.throwIfAborted()
      // The last step only looks at where the one before it came to.
      const { state: next, loss } = await step(state, given, rate * (1 - i / steps))
      state = next
      if (onProgress && (i === steps || i % Math.ceil(steps / 10) === 0)) onProgress({ step: i, steps, loss: await loss.item() * meanDiagonal(hessian, columns) })
      loss.dispose()
    }
    const [offsets, low, high] = await Promise.all([state.bestOffsets, state.bestLow, state.bestHigh].map((t) => t.data())) as [Float32Array, Float32Array, Float32Array]
    const learned = lay(w, shape, setting, (at) => moved(starts[at]!, low[at]!, high[at]!, setting), (r, c) => offsets[r * width + c]!)
    return { ...best(nearest, learned, plainLoss, lossOf(w, learned.values, hessian, shape), shape), groupOf, order }
  } finally {
    for (const t of [...Object.values(given), ...Object.values(state)]) if (!t.disposed) t.dispose()
  }
}

function check(weights: Float32Array | Float64Array, [rows, columns]: MatrixShape, hessian: Float64Array, steps: number): void {
  if (weights.length !== rows * columns) fail("shape", "learnRounding", `${weights.length} weights for ${showShape([rows, columns])}`)
  if (hessian.length !== columns * columns) fail("shape", "learnRounding", `H has ${hessian.length} elements for ${columns} columns`)
  if (!(Number.isInteger(steps) && steps >= 1)) fail("value", "learnRounding", `steps must be a whole number ≥ 1, got ${steps}`)
  for (const [what, values] of [["weight", weights], ["element of H", hessian]] as const) {
    const wrong = values.findIndex((v) => !Number.isFinite(v))
    if (wrong >= 0) fail("numeric", "learnRounding", `${what} at row ${Math.floor(wrong / columns)}, column ${wrong % columns} is ${values[wrong]}`, "calibrate with inputs that do not overflow")
  }
}

/** What codes there are, and for how many neighbours. */
interface Setting {
  readonly grids: Grids & Required<Pick<Grids, "step">>
  readonly size: number
  readonly groups: number
  readonly least: number
  readonly most: number
  /** Whether zero has the same code in every group. */
  readonly symmetric: boolean
}
function settingOf(options: LearnRoundingOptions, columns: number): Setting {
  const { format } = options, grids = options.format === undefined ? integerGrids(options) : options.format.grids, { step } = grids ?? {}
  if (grids === undefined || step === undefined) return fail("value", "learnRounding", `${format!.name} has no evenly spaced codes in groups of a row`, "int does")
  const group = options.format === undefined ? options.group ?? "row" : options.format.group
  if (group !== "row" && group !== Infinity && !(Number.isInteger(group) && group >= 1)) fail("value", "learnRounding", `group must be a whole number ≥ 1, got ${String(group)}`)
  const size = Math.max(1, group === "row" ? columns : Math.min(group, columns)), far = 2 ** 40, { zero } = grids.fit(Float64Array.of(1))
  return { grids: { ...grids, step }, size, groups: Math.ceil(columns / size), least: grids.code(-far, 1, zero), most: grids.code(far, 1, zero), symmetric: zero === grids.fit(Float64Array.of(-1)).zero }
}

/** A grid whose ends were moved to shares of where they were, as it is stored. */
function moved(grid: Grid, low: number, high: number, { grids, least, most, symmetric }: Setting): Grid {
  const { scale, zero } = grid
  if (low === 1 && high === 1) return grid
  if (symmetric) return { scale: grids.step(scale * high), zero }
  const under = zero - least, step = grids.step((scale * (high * (most - zero) + low * under)) / (most - least))
  return { scale: step, zero: Math.min(most, Math.max(least, least + Math.round((low * under * scale) / step))) }
}

type Laid = Pick<LearnedRounding, "codes" | "scales" | "zeros" | "values">

/** Codes and values of a matrix on grids, each weight moved by an offset, in steps, before it is rounded. */
function lay(w: Float64Array, [rows, columns]: MatrixShape, { grids, size, groups }: Setting, gridOf: (at: number) => Grid, offset: (row: number, column: number) => number): Laid {
  const codes = new Uint8Array(w.length), values = new Float64Array(w.length), scales = new Float64Array(rows * groups), zeros = new Uint8Array(rows * groups)
  for (let r = 0; r < rows; r++)
    for (let g = 0, at = r * groups; g < groups; g++, at++) {
      const { scale, zero } = gridOf(at)
      scales[at] = scale
      zeros[at] = zero
      for (let c = g * size; c < Math.min(columns, (g + 1) * size); c++) {
        const i = r * columns + c, q = grids.code(w[i]! + offset(r, c) * scale, scale, zero)
        codes[i] = q
        values[i] = grids.value(q, scale, zero)
      }
    }
  return { codes, scales, zeros, values }
}

/** (w − ŵ)·H·(w − ŵ)ᵀ of each row. */
function lossOf(w: Float64Array, values: Float64Array, hessian: Float64Array, [rows, columns]: MatrixShape): Float64Array {
  const { multiplyAdd, rowMajor } = linalg, change = w.map((v, i) => v - values[i]!), pushed = new Float64Array(w.length), out = new Float64Array(rows)
  multiplyAdd(rowMajor(pushed, columns), rowMajor(change, columns), rowMajor(hessian, columns), rows, columns, columns)
  change.forEach((v, i) => (out[Math.floor(i / columns)]! += v * pushed[i]!))
  return out
}

/** Row by row whichever loses less. */
function best(plain: Laid, learned: Laid, plainLoss: Float64Array, learnedLoss: Float64Array, [rows, columns]: MatrixShape): Laid & Pick<LearnedRounding, "loss" | "plainLoss"> {
  const { codes, scales, zeros, values } = plain, loss = plainLoss.slice(), groups = scales.length / rows
  for (let r = 0; r < rows; r++) {
    if (!(learnedLoss[r]! < plainLoss[r]!)) continue
    loss[r] = learnedLoss[r]!
    codes.set(learned.codes.subarray(r * columns, (r + 1) * columns), r * columns)
    values.set(learned.values.subarray(r * columns, (r + 1) * columns), r * columns)
    scales.set(learned.scales.subarray(r * groups, (r + 1) * groups), r * groups)
    zeros.set(learned.zeros.subarray(r * groups, (r + 1) * groups), r * groups)
  }
  return { codes, scales, zeros, values, loss, plainLoss }
}

const meanDiagonal = (h: Float64Array, n: number): number => Array.from({ length: n }, (_, i) => h[i * n + i]! / n).reduce((a, b) => a + b, 0) || 1

/** Rows that end with a whole group: what is added is zero, and H does not see it. */
function padded(values: Float64Array, rows: number, columns: number, width: number): Float32Array {
  const out = new Float32Array(rows * width)
  for (let r = 0; r < rows; r++) out.set(values.subarray(r * columns, (r + 1) * columns), r * width)
  return out
}
/** H in units of its mean diagonal: its size matters to no sign, but could leave f32. */
function squared(h: Float64Array, columns: number, width: number): Float32Array {
  const mean = meanDiagonal(h, columns), out = new Float32Array(width * width)
  for (let i = 0; i < columns; i++) for (let j = 0; j < columns; j++) out[i * width + j] = h[i * columns + j]! / mean
  return out
}

const upload = (of: Readonly<Record<keyof Given, Float32Array>>, rows: number, groups: number, size: number, width: number): Given => ({
  weights: tensor(of.weights, { shape: [rows, groups, size] }), hessian: tensor(of.hessian, { shape: [width, width] }),
  scales: tensor(of.scales, { shape: [rows, groups, 1] }), zeros: tensor(of.zeros, { shape: [rows, groups, 1] }),
})
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
  const zero = symmetric ? from : clamp(straight(low.mul(under).mul(base).div(scale), round).add(least), least, most)
  const codes = clamp(straight(weights.div(scale).add(offsets), round).add(zero), least, most)
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
