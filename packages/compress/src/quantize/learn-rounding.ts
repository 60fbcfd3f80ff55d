import { clamp, compile, fail, grad, linalg, lt, matmul, mul, reshape, round, showShape, sign, stopGradient, sub, sum, tensor, where, type Tensor } from "@thimble/core"
import { storedAs } from "../format/groups.ts"
import type { MatrixShape } from "../quantizer.ts"
import { codeOn, fitGrid, type Grid, type GridOptions } from "./grid.ts"

export interface LearnRoundingOptions extends GridOptions {
  /** Neighbours along a row that share a grid; the whole `row` unless given. */
  readonly group?: number | "row"
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

export interface LearnedRounding {
  /** Codes [rows, columns], with 0 ≤ q < 2^bits. */
  readonly codes: Uint8Array
  /** Grids [rows, groups]: ŵ = (q − zero) · scale. */
  readonly scales: Float64Array
  readonly zeros: Uint8Array
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
 * of the change of outputs, Σ rows (w − ŵ)·H·(w − ŵ)ᵀ for H of {@link hessian}, straight through the rounding. Each row keeps
 * what was best for it, rounding to nearest among it, and what is returned is compared once more in float64: no row is worse
 * than rounded to nearest. Steps run on the current device. Source: Cheng et al., "Optimize Weight Rounding via Signed
 * Gradient Descent for the Quantization of LLMs" (AutoRound), arXiv 2309.05516.
 */
export async function learnRounding(weights: Float32Array | Float64Array, [rows, columns]: MatrixShape, hessian: Float64Array, options: LearnRoundingOptions): Promise<LearnedRounding> {
  const { bits, group = "row", range = "asymmetric", scales: type = "f64", steps = 200, rate = 1 / steps, learn = "both", signal, onProgress } = options
  if (weights.length !== rows * columns) fail("shape", "learnRounding", `${weights.length} weights for ${showShape([rows, columns])}`)
  if (hessian.length !== columns * columns) fail("shape", "learnRounding", `H has ${hessian.length} elements for ${columns} columns`)
  if (!(Number.isInteger(steps) && steps >= 1)) fail("value", "learnRounding", `steps must be a whole number ≥ 1, got ${steps}`)
  if (group !== "row" && !(Number.isInteger(group) && group >= 1)) fail("value", "learnRounding", `group must be a whole number ≥ 1, got ${String(group)}`)
  for (const [what, values] of [["weight", weights], ["element of H", hessian]] as const) {
    const wrong = values.findIndex((v) => !Number.isFinite(v))
    if (wrong >= 0) fail("numeric", "learnRounding", `${what} ${wrong} is ${values[wrong]}`, "calibrate with inputs that do not overflow")
  }
  const top = 2 ** bits - 1, size = group === "row" ? Math.max(1, columns) : Math.min(group, Math.max(1, columns)), groups = Math.ceil(columns / size), width = groups * size
  const w = Float64Array.from(weights), starts: Grid[] = []
  for (let r = 0; r < rows; r++) for (let g = 0; g < groups; g++) starts.push(fitGrid(w.subarray(r * columns + g * size, r * columns + Math.min(columns, (g + 1) * size)), options))
  const nearest = lay(w, [rows, columns], size, (r, g) => starts[r * groups + g]!, () => 0, top)
  const plainLoss = lossOf(w, nearest.values, hessian, [rows, columns])
  if (rows * columns === 0) return { ...nearest, loss: plainLoss, plainLoss }

  const given: Given = upload({ weights: padded(w, rows, columns, width), hessian: squared(hessian, columns, width), scales: Float32Array.from(starts, (g) => g.scale), zeros: Float32Array.from(starts, (g) => g.zero) }, rows, groups, size, width)
  let state: State = start(rows, groups, width)
  const step = compile((s: State, d: Given, rate: Tensor) => stepped(s, d, rate, { top, symmetric: range === "symmetric", type, ends: learn === "both" }), { donate: [0] })
  try {
    for (let i = 0; i <= steps; i++) {
      signal?.throwIfAborted()
      // The last step only looks at where the one before it came to.
      const { state: next, loss } = await step(state, given, rate * (1 - i / steps))
      state = next
      if (onProgress && (i === steps || i % Math.ceil(steps / 10) === 0)) onProgress({ step: i, steps, loss: await loss.item() * meanDiagonal(hessian, columns) })
      loss.dispose()
    }
    const [offsets, low, high] = await Promise.all([state.bestOffsets, state.bestLow, state.bestHigh].map((t) => t.data())) as Float32Array[]
    const learned = lay(w, [rows, columns], size, (r, g) => {
      const at = r * groups + g, { scale: base, zero: from } = starts[at]!
      const exact = range === "symmetric" ? base * high![at]! : (base * (high![at]! * (top - from) + low![at]! * from)) / top, scale = storedOr(type, exact)
      return { scale, zero: range === "symmetric" ? from : Math.min(top, Math.max(0, Math.round((low![at]! * from * base) / scale))) }
    }, (r, c) => offsets![r * width + c]!, top)
    return best(nearest, learned, plainLoss, lossOf(w, learned.values, hessian, [rows, columns]), [rows, columns])
  } finally {
    for (const t of [...Object.values(given), ...Object.values(state)]) if (!t.disposed) t.dispose()
  }
}

type Laid = Pick<LearnedRounding, "codes" | "scales" | "zeros" | "values">

/** Codes and values of a matrix on grids, each weight moved by an offset, in steps, before it is rounded. */
function lay(w: Float64Array, [rows, columns]: MatrixShape, size: number, gridOf: (row: number, group: number) => Grid, offset: (row: number, column: number) => number, top: number): Laid {
  const groups = Math.ceil(columns / size), codes = new Uint8Array(w.length), values = new Float64Array(w.length), scales = new Float64Array(rows * groups), zeros = new Uint8Array(rows * groups)
  for (let r = 0; r < rows; r++)
    for (let g = 0; g < groups; g++) {
      const grid = gridOf(r, g)
      scales[r * groups + g] = grid.scale
      zeros[r * groups + g] = grid.zero
      for (let c = g * size; c < Math.min(columns, (g + 1) * size); c++) {
        const i = r * columns + c, q = codeOn(grid.scale, grid.zero, top, w[i]! + offset(r, c) * grid.scale)
        codes[i] = q
        values[i] = (q - grid.zero) * grid.scale
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
function best(plain: Laid, learned: Laid, plainLoss: Float64Array, learnedLoss: Float64Array, [rows, columns]: MatrixShape): LearnedRounding {
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

const storedOr = (type: GridOptions["scales"], scale: number): number => (type === undefined || type === "f64" ? scale : storedAs(type, scale) || scale)
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
interface How { readonly top: number; readonly symmetric: boolean; readonly type: GridOptions["scales"]; readonly ends: boolean }
function stepped({ offsets, low, high, bestOffsets, bestLow, bestHigh, bestLoss }: State, { weights, hessian, scales: base, zeros: from }: Given, rate: Tensor, { top, symmetric, type, ends }: How): { readonly state: State; readonly loss: Tensor } {
  const [rows, groups, size] = weights.shape as [number, number, number]
  const exact = symmetric ? base.mul(high) : base.mul(high.mul(sub(top, from)).add(low.mul(from))).mul(1 / top)
  const scale = type === undefined || type === "f64" || type === "f32" ? exact : straight(exact, (s) => s.cast(type).cast("f32"))
  const zero = symmetric ? from : clamp(straight(low.mul(from).mul(base).div(scale), round), 0, top)
  const codes = clamp(straight(weights.div(scale).add(offsets), round).add(zero), 0, top)
  const change = reshape(codes.sub(zero).mul(scale).sub(weights), [rows, groups * size])
  const each = sum(mul(matmul(change, hessian), change), { axis: 1 }), loss = sum(each)
  const learned = [offsets, ...(ends ? [high] : []), ...(ends && !symmetric ? [low] : [])], [offsetSlope, highSlope, lowSlope] = grad(loss, learned)
  const moved = (p: Tensor, slope: Tensor, least: number, most: number): Tensor => clamp(p.sub(sign(slope).mul(rate)), least, most)
  const found = reshape(each, [rows, 1, 1]), better = lt(found, bestLoss)
  const kept = (now: Tensor, before: Tensor): Tensor => where(better, now, before), least = kept(found, bestLoss)
  return {
    loss: sum(least),
    state: {
      offsets: moved(offsets, offsetSlope!, -0.5, 0.5),
      low: lowSlope ? moved(low, lowSlope, leastShare, 1) : low.add(0),
      high: highSlope ? moved(high, highSlope, leastShare, 1) : high.add(0),
      bestOffsets: kept(offsets, bestOffsets), bestLow: kept(low, bestLow), bestHigh: kept(high, bestHigh), bestLoss: least,
    },
  }
}
