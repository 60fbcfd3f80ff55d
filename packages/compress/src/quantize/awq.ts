import { fail, linalg, roundHalfEven } from "@thimble/core"
import type { MatrixShape } from "../quantizer.ts"

export interface AwqOptions {
  readonly bits?: 2 | 3 | 4 | 5 | 6 | 7 | 8
  /** Neighbours along a row that share a grid; rows are whole multiples of it. 128 unless given. */
  readonly group?: number
  /** Exponents that are tried, from 0 on in equal steps below 1; 20 unless given. */
  readonly points?: number
  /** What factors are made of: the `activation` sizes (unless given; Lin et al., arXiv 2306.00978), or `both` theirs and the weights' (AutoAWQ). */
  readonly scaling?: "activation" | "both"
}

export interface AwqScales {
  /** What columns of weights are multiplied with, and inputs divided by. */
  readonly scales: Float64Array
  /** The exponent that was best; undefined for factors of one. */
  readonly ratio: number | undefined
  /** Mean squared change of outputs with these factors, and with each of those that were tried. */
  readonly loss: number
  readonly losses: readonly number[]
  /** The same without any factors: never less than `loss`. */
  readonly plainLoss: number
}

/** Rounds groups from their least to their largest element, zero included or not. */
export function awqRound(w: Float64Array, columns: number, bits: number, group: number): { readonly codes: Uint8Array; readonly scales: Float64Array; readonly zeros: Uint8Array; readonly values: Float64Array } {
  const top = 2 ** bits - 1, count = w.length / group, codes = new Uint8Array(w.length), scales = new Float64Array(count), zeros = new Uint8Array(count), values = new Float64Array(w.length)
  if (columns % group !== 0) fail("shape", "awq", `groups of ${group} do not divide rows of ${columns}`)
  for (let g = 0; g < count; g++) {
    const own = w.subarray(g * group, (g + 1) * group)
    let lo = Infinity, hi = -Infinity
    for (const v of own) {
      lo = Math.min(lo, v)
      hi = Math.max(hi, v)
    }
    const scale = (scales[g] = Math.max(hi - lo, 1e-5) / top), zero = (zeros[g] = Math.min(top, Math.max(0, -roundHalfEven(lo / scale))))
    own.forEach((v, i) => {
      const q = Math.min(top, Math.max(0, roundHalfEven(v / scale) + zero))
      codes[g * group + i] = q
      values[g * group + i] = (q - zero) * scale
    })
  }
  return { codes, scales, zeros, values }
}

/** Mean square of X·(W − Ŵ)ᵀ. */
function outputError(x: Float64Array, tokens: number, w: Float64Array, back: Float64Array, rows: number, columns: number): number {
  const { multiplyAdd, rowMajor, viewTransposed } = linalg, out = new Float64Array(tokens * rows)
  multiplyAdd(rowMajor(out, rows), rowMajor(x, columns), viewTransposed(rowMajor(w.map((v, i) => v - back[i]!), columns)), tokens, rows, columns)
  return out.reduce((s, v) => s + v * v, 0) / Math.max(1, out.length)
}

/**
 * AWQ's factors: columns that are multiplied with much are made larger before they are rounded, and inputs smaller by as
 * much; the exponent is the one whose outputs change least. Factors of one are always among those tried.
 */
export function awqScales(weights: Float32Array | Float64Array, [rows, columns]: MatrixShape, inputs: Float32Array | Float64Array, { bits = 4, group = 128, points = 20, scaling = "activation" }: AwqOptions = {}): AwqScales {
  if (weights.length !== rows * columns) fail("shape", "awq", `${weights.length} weights for [${rows}, ${columns}]`)
  if (inputs.length % Math.max(1, columns) !== 0) fail("shape", "awq", `${inputs.length} inputs in rows of ${columns}`)
  if (![...weights].every(Number.isFinite) || ![...inputs].every(Number.isFinite)) fail("numeric", "awq", "weights and inputs must be finite")
  const w = Float64Array.from(weights), x = Float64Array.from(inputs), tokens = inputs.length / Math.max(1, columns)
  const xMean = new Float64Array(columns), wMean = new Float64Array(columns)
  x.forEach((v, i) => (xMean[i % columns]! += Math.abs(v) / tokens))
  if (scaling === "both")
    for (let g = 0; g < w.length; g += group) {
      const own = w.subarray(g, g + group), most = own.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
      own.forEach((v, i) => (wMean[(g + i) % columns]! += Math.abs(v) / (most + 1e-6) / rows))
    }
  const lossOf = (s: Float64Array): number => {
    const { values } = awqRound(w.map((v, i) => v * s[i % columns]!), columns, bits, group)
    return outputError(x, tokens, w, values.map((v, i) => v / s[i % columns]!), rows, columns)
  }
  const ones = new Float64Array(columns).fill(1), plainLoss = lossOf(ones), losses: number[] = []
  let best: Pick<AwqScales, "scales" | "ratio" | "loss"> = { scales: ones, ratio: undefined, loss: plainLoss }
  for (let i = 0; i < points; i++) {
    const ratio = i / points, raw = xMean.map((v, j) => Math.max(1e-4, scaling === "both" ? v ** ratio / (wMean[j]! ** (1 - ratio) + 1e-4) : v ** ratio))
    const middle = Math.sqrt(Math.max(...raw) * Math.min(...raw)), scales = raw.map((s) => (Number.isFinite(s / middle) ? s / middle : 1))
    const loss = lossOf(scales)
    losses.push(loss)
    if (loss < best.loss) best = { scales, ratio, loss }
  }
  return { ...best, losses, plainLoss }
}

/**
 * AWQ's clipping: for each group of each row the largest magnitude, from the whole to half of it, with which the group's
 * own part of the outputs changes least. Returns [rows, groups].
 */
export function awqClip(weights: Float32Array | Float64Array, [rows, columns]: MatrixShape, inputs: Float32Array | Float64Array, { bits = 4, group = 128, points = 20 }: Pick<AwqOptions, "bits" | "group" | "points"> = {}): Float64Array {
  const perRow = columns / group, out = new Float64Array(rows * perRow), tokens = inputs.length / columns
  const x = Float64Array.from(inputs)
  for (let r = 0; r < rows; r++)
    for (let g = 0; g < perRow; g++) {
      const own = Float64Array.from(weights.subarray(r * columns + g * group, r * columns + (g + 1) * group)), most = own.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
      let least = Infinity
      for (let i = 0; i < points / 2; i++) {
        const end = most * (1 - i / points), { values } = awqRound(own.map((v) => Math.max(-end, Math.min(end, v))), group, bits, group)
        let error = 0
        for (let t = 0; t < tokens; t++) {
          let sum = 0
          for (let c = 0, at = t * columns + g * group; c < group; c++) sum += x[at + c]! * (values[c]! - own[c]!)
          error += sum * sum
        }
        if (error < least) {
          least = error
          out[r * perRow + g] = end
        }
      }
    }
  return out
}
