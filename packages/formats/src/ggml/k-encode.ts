// Encoders of the K-quants. A group of 16 or 32 gets a scale (and a minimum) by search; a super-block of 256 then rounds
// these to small integers, and its codes are taken again with what is left of them.
import { f16Bits, f16Value } from "@thimble/core"
import type { RowEncoder } from "./block.ts"
import { clamp, f, nearest, nothing } from "./round.ts"
import { affine, positive, squares, symmetric, symmetricBySweeps, weigh, type Affine, type AffineSearch } from "./search.ts"
import { putHalf } from "./simple.ts"

const size = 256
const codes = new Uint8Array(size), weights = new Float32Array(size), importances = new Float32Array(16)
const scales = new Float32Array(16), drops = new Float32Array(16)
const scaleCodes = new Uint8Array(16), dropCodes = new Uint8Array(16)
const found: Affine = { scale: 0, drop: 0 }

interface TwoLevels {
  /** Elements that share a scale, and the largest code and scale code. */
  readonly group: 16 | 32
  readonly plain: AffineSearch
  readonly weighted: AffineSearch
  readonly topScale: 15 | 63
  /** Σ x² of the super-block counts this often in the weights. */
  readonly spread: 1 | 2
  /** Weights without importances: |x|, or √(mean x²) + |x|. */
  readonly mean: boolean
}

/** Rounds group scales x ≥ 0 to 0 … top of one common step; returns the step as f16 keeps it. */
function roundScales(n: number, top: number, x: Float32Array, weighted: boolean, into: Uint8Array): number {
  if (weighted) return f16Value(f16Bits(positive(n, top, x, importances, into)))
  let max = 0
  for (let j = 0; j < n; j++) if (x[j]! > max) max = x[j]!
  const inverse = max > 0 ? f(top / max) : 0
  for (let j = 0; j < n; j++) into[j] = Math.min(top, nearest(f(inverse * x[j]!)))
  return f16Value(f16Bits(f(max / top)))
}

/** Scale and minimum per group: leaves `codes`, `scaleCodes` and `dropCodes`, and gives the two steps. */
function twoLevels(x: Float32Array, from: number, importance: Float32Array | undefined, { group, plain, weighted, topScale, spread, mean }: TwoLevels): { d: number; dmin: number } {
  const groups = size / group
  const variance = importance && f(f(spread * squares(size, x, from)) / size)
  for (let j = 0; j < groups; j++) {
    const at = from + group * j
    if (importance) {
      weigh(group, x, at, importance, variance!, weights)
      let sum = 0
      for (let i = 0; i < group; i++) sum = f(sum + weights[i]!)
      importances[j] = sum
    } else {
      const offset = mean ? f(Math.sqrt(f(squares(group, x, at) / group))) : 0
      for (let i = 0; i < group; i++) weights[i] = f(offset + Math.abs(x[at + i]!))
    }
    affine(group, importance ? weighted : plain, x, at, weights, codes, group * j, found)
    scales[j] = found.scale
    drops[j] = found.drop
  }
  const d = roundScales(groups, topScale, scales, importance !== undefined, scaleCodes)
  const dmin = roundScales(groups, topScale, drops, importance !== undefined, dropCodes)
  for (let j = 0; j < groups; j++) {
    const step = f(d * scaleCodes[j]!)
    // A step that vanished leaves the codes of the search.
    if (step === 0) continue
    const drop = f(dmin * dropCodes[j]!)
    for (let i = 0; i < group; i++) codes[group * j + i] = clamp(nearest(f(f(x[from + group * j + i]! + drop) / step)), 0, plain.top)
  }
  return { d, dmin }
}

const weighted = (top: number): AffineSearch => ({ top, first: f(-0.9), rise: f(0.05), tries: 36 })
const two: TwoLevels = { group: 16, plain: { top: 3, first: f(-0.5), rise: f(0.1), tries: 15, magnitude: true }, weighted: weighted(3), topScale: 15, spread: 1, mean: false }
const four: TwoLevels = { group: 32, plain: { top: 15, first: f(-1), rise: f(0.1), tries: 20 }, weighted: weighted(15), topScale: 63, spread: 2, mean: true }
const five: TwoLevels = { group: 32, plain: { top: 31, first: f(-0.5), rise: f(0.1), tries: 15 }, weighted: weighted(31), topScale: 63, spread: 2, mean: true }

/** Two bits of each code into `out`: byte l of 32 holds codes l, l + 32, l + 64, l + 96 of 128. */
function putPairs(out: Uint8Array, at: number, shift: number): void {
  for (let h = 0; h < 2; h++)
    for (let l = 0; l < 32; l++) {
      let byte = 0
      for (let k = 0; k < 4; k++) byte |= ((codes[128 * h + 32 * k + l]! >> shift) & 3) << (2 * k)
      out[at + 32 * h + l] = byte
    }
}
/** One bit of each code: bit s of byte l is code 32s + l's. */
function putBits(out: Uint8Array, at: number, shift: number): void {
  for (let e = 0; e < size; e++) out[at + (e & 31)]! |= ((codes[e]! >> shift) & 1) << (e >> 5)
}

export const encodeQ2K: RowEncoder = (row, importance, out) => {
  for (let from = 0, at = 0; from < row.length; from += size, at += 84) {
    const { d, dmin } = twoLevels(row, from, importance, two)
    for (let j = 0; j < 16; j++) out[at + j] = scaleCodes[j]! | dropCodes[j]! << 4
    putPairs(out, at + 16, 0)
    putHalf(out, at + 80, d)
    putHalf(out, at + 82, dmin)
  }
}

export function encodeQ45K(bits: 4 | 5): RowEncoder {
  const levels = bits === 4 ? four : five, bytes = bits === 4 ? 144 : 176, qs = bytes - 128
  return (row, importance, out) => {
    for (let from = 0, at = 0; from < row.length; from += size, at += bytes) {
      const { d, dmin } = twoLevels(row, from, importance, levels)
      putHalf(out, at, d)
      putHalf(out, at + 2, dmin)
      for (let j = 0; j < 4; j++) {
        const [s, m, lateS, lateM] = [scaleCodes[j]!, dropCodes[j]!, scaleCodes[j + 4]!, dropCodes[j + 4]!]
        out[at + 4 + j] = s | (lateS >> 4) << 6
        out[at + 8 + j] = m | (lateM >> 4) << 6
        out[at + 12 + j] = (lateS & 15) | (lateM & 15) << 4
      }
      if (bits === 5) putBits(out, at + 16, 4)
      for (let c = 0; c < 4; c++)
        for (let l = 0; l < 32; l++) out[at + qs + 32 * c + l] = (codes[64 * c + l]! & 15) | (codes[64 * c + 32 + l]! & 15) << 4
    }
  }
}

/** The scale of largest magnitude, sign and all. */
function extremeOf(x: Float32Array): number {
  let amax = 0, extreme = 0
  for (let j = 0; j < 16; j++)
    if (Math.abs(x[j]!) > amax) {
      amax = Math.abs(x[j]!)
      extreme = x[j]!
    }
  return extreme
}

/** Codes once more, with the steps d · (scale code − offset) that are left after rounding. */
function recode(x: Float32Array, from: number, d: number, steps: (j: number) => number, top: number): void {
  for (let j = 0; j < 16; j++) {
    const step = f(d * steps(j))
    if (step === 0) continue
    for (let i = 16 * j; i < 16 * j + 16; i++) codes[i] = clamp(nearest(f(x[from + i]! / step)), -top, top - 1) + top
  }
}

export const encodeQ3K: RowEncoder = (row, importance, out) => {
  for (let from = 0, at = 0; from < row.length; from += size, at += 110) {
    let d = 0
    if (importance) {
      const variance = f(f(2 * squares(size, row, from)) / size)
      for (let j = 0; j < 16; j++) {
        weigh(16, row, from + 16 * j, importance, variance, weights)
        let sum = 0
        for (let i = 0; i < 16; i++) sum = f(sum + weights[i]!)
        importances[j] = sum
        scales[j] = symmetric(16, 4, row, from + 16 * j, weights, 0, codes, 16 * j)
      }
      d = symmetric(16, 32, scales, 0, importances, 0, scaleCodes, 0)
    } else {
      for (let j = 0; j < 16; j++) scales[j] = symmetricBySweeps(16, 4, row, from + 16 * j, codes, 16 * j)
      const extreme = extremeOf(scales)
      const inverse = extreme === 0 ? 0 : f(-32 / extreme)
      for (let j = 0; j < 16; j++) scaleCodes[j] = extreme === 0 ? 0 : clamp(nearest(f(inverse * scales[j]!)), -32, 31) + 32
      d = extreme === 0 ? 0 : f(1 / inverse)
    }
    for (let j = 0; j < 16; j++) {
      out[at + 96 + (j & 7)]! |= (scaleCodes[j]! & 15) << (j < 8 ? 0 : 4)
      out[at + 104 + (j & 3)]! |= (scaleCodes[j]! >> 4) << (2 * (j >> 2))
    }
    putHalf(out, at + 108, d)
    recode(row, from, f16Value(f16Bits(d)), (j) => scaleCodes[j]! - 32, 4)
    putBits(out, at, 2)
    putPairs(out, at + 32, 0)
  }
}

export const encodeQ6K: RowEncoder = (row, importance, out) => {
  for (let from = 0, at = 0; from < row.length; from += size, at += 210) {
    for (let j = 0; j < 16; j++) scales[j] = symmetric(16, 32, row, from + 16 * j, importance, from + 16 * j, codes, 16 * j)
    const extreme = extremeOf(scales)
    if (Math.abs(extreme) < nothing) continue
    const inverse = f(-128 / extreme), d = f16Value(f16Bits(f(1 / inverse)))
    const steps = (j: number): number => Math.min(127, nearest(f(inverse * scales[j]!)))
    for (let j = 0; j < 16; j++) out[at + 192 + j] = steps(j)
    putHalf(out, at + 208, d)
    recode(row, from, d, steps, 32)
    for (let h = 0; h < 2; h++)
      for (let l = 0; l < 64; l++) out[at + 64 * h + l] = (codes[128 * h + l]! & 15) | (codes[128 * h + 64 + l]! & 15) << 4
    putPairs(out, at + 128, 4)
  }
}
