// Encoders of the K-quants. A group of 16 or 32 gets a scale (and a minimum) by search; a super-block of 256 then rounds
// these to small integers, and its codes are taken again with what is left of them.
import { f16Bits, f16Value } from "@thimble/core"
import type { RowEncoder } from "./block.ts"
import { clamp, f, nearest, nothing } from "./round.ts"
import { affine, positive, squares, symmetric, symmetricBySweeps, weigh, type Affine, type AffineSearch } from "./search.ts"
import { putHalf } from "./simple.ts"
import { room } from "./lanes.ts"
import { stretch, type Stretch } from "./stretch.ts"

const size = 256
const codes = new Uint8Array(size), importances = new Float32Array(room / 16)
const scales = new Float32Array(16), drops = new Float32Array(16), sums = new Float32Array(16)
const scaleCodes = new Uint8Array(16), dropCodes = new Uint8Array(16), steps = new Int8Array(16)
const found: Affine = { scale: 0, drop: 0 }

/** Takes a row in stretches: `search` finds the scales of one, `block` is then called for each super-block in it. */
function inStretches(row: Float32Array, importance: Float32Array | undefined, search: (own: Stretch, length: number, importance: Float32Array | undefined) => void, block: (own: Stretch, from: number) => void): void {
  const own = stretch()
  for (let start = 0; start < row.length; start += room) {
    const length = Math.min(room, row.length - start)
    for (let i = 0; i < length; i++) own.values[i] = row[start + i]!
    search(own, length, importance?.subarray(start, start + length))
    for (let from = 0; from < length; from += size) block(own, from)
  }
}

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
function roundScales(n: number, top: number, x: Float32Array, weights: Float32Array | undefined, into: Uint8Array): number {
  if (weights) return f16Value(f16Bits(positive(n, top, x, weights, into)))
  let max = 0
  for (let j = 0; j < n; j++) if (x[j]! > max) max = x[j]!
  const inverse = max > 0 ? f(top / max) : 0
  for (let j = 0; j < n; j++) into[j] = Math.min(top, nearest(f(inverse * x[j]!)))
  return f16Value(f16Bits(f(max / top)))
}

/** Weights by importance, and their sums per group. */
function weighGroups({ values, weights }: Stretch, length: number, importance: Float32Array, group: number, spread: number): void {
  for (let from = 0; from < length; from += size) {
    const variance = f(f(spread * squares(size, values, from)) / size)
    weigh(size, values, from, importance, variance, weights, from)
    for (let at = from; at < from + size; at += group) {
      let sum = 0
      for (let i = at; i < at + group; i++) sum = f(sum + weights[i]!)
      importances[at / group] = sum
    }
  }
}

/** Leaves the scales and drops of a stretch's groups. */
function searchLevels(own: Stretch, length: number, importance: Float32Array | undefined, { group, plain, weighted, spread, mean }: TwoLevels): void {
  const { values, weights } = own
  if (importance) weighGroups(own, length, importance, group, spread)
  else
    for (let at = 0; at < length; at += group) {
      const offset = mean ? f(Math.sqrt(f(squares(group, values, at) / group))) : 0
      for (let i = at; i < at + group; i++) weights[i] = f(offset + Math.abs(values[i]!))
    }
  own.affine(group, length / group, importance ? weighted : plain)
}

/** Scale and minimum per group of a super-block: leaves `codes`, `scaleCodes` and `dropCodes`, and gives the two steps. */
function twoLevels({ values: x, weights, scales: all, drops: allDrops }: Stretch, from: number, known: boolean, { group, plain, weighted, topScale }: TwoLevels): { d: number; dmin: number } {
  const groups = size / group, first = from / group
  for (let j = 0; j < groups; j++) {
    scales[j] = all[first + j]!
    drops[j] = allDrops[first + j]!
    sums[j] = importances[first + j]!
  }
  const d = roundScales(groups, topScale, scales, known ? sums : undefined, scaleCodes)
  const dmin = roundScales(groups, topScale, drops, known ? sums : undefined, dropCodes)
  for (let j = 0; j < groups; j++) {
    const step = f(d * scaleCodes[j]!), at = group * j
    if (step === 0) {
      // A step that vanished leaves the codes of the search.
      affine(group, known ? weighted : plain, x, from + at, weights, from + at, codes, at, found)
      continue
    }
    const drop = f(dmin * dropCodes[j]!), top = plain.top
    for (let i = at; i < at + group; i++) codes[i] = clamp(nearest(f(f(x[from + i]! + drop) / step)), 0, top)
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
  let at = 0
  inStretches(row, importance, (own, length, weights) => searchLevels(own, length, weights, two), (own, from) => {
    const { d, dmin } = twoLevels(own, from, importance !== undefined, two)
    for (let j = 0; j < 16; j++) out[at + j] = scaleCodes[j]! | dropCodes[j]! << 4
    putPairs(out, at + 16, 0)
    putHalf(out, at + 80, d)
    putHalf(out, at + 82, dmin)
    at += 84
  })
}

export function encodeQ45K(bits: 4 | 5): RowEncoder {
  const levels = bits === 4 ? four : five, bytes = bits === 4 ? 144 : 176, qs = bytes - 128
  return (row, importance, out) => {
    let at = 0
    inStretches(row, importance, (own, length, weights) => searchLevels(own, length, weights, levels), (own, from) => {
      const { d, dmin } = twoLevels(own, from, importance !== undefined, levels)
      putHalf(out, at, d)
      putHalf(out, at + 2, dmin)
      for (let j = 0; j < 4; j++) {
        const s = scaleCodes[j]!, m = dropCodes[j]!, lateS = scaleCodes[j + 4]!, lateM = dropCodes[j + 4]!
        out[at + 4 + j] = s | (lateS >> 4) << 6
        out[at + 8 + j] = m | (lateM >> 4) << 6
        out[at + 12 + j] = (lateS & 15) | (lateM & 15) << 4
      }
      if (bits === 5) putBits(out, at + 16, 4)
      for (let c = 0; c < 4; c++)
        for (let l = 0; l < 32; l++) out[at + qs + 32 * c + l] = (codes[64 * c + l]! & 15) | (codes[64 * c + 32 + l]! & 15) << 4
      at += bytes
    })
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

/** Codes once more, with what is left of the steps d · `steps` after rounding. Where a step vanished those of `search` stay. */
function recode(x: Float32Array, from: number, d: number, top: number, search: (group: number) => void): void {
  for (let j = 0; j < 16; j++) {
    const step = f(d * steps[j]!)
    if (step === 0) search(j)
    else for (let i = 16 * j; i < 16 * j + 16; i++) codes[i] = clamp(nearest(f(x[from + i]! / step)), -top, top - 1) + top
  }
}

export const encodeQ3K: RowEncoder = (row, importance, out) => {
  let at = 0
  const search = (own: Stretch, length: number, weights: Float32Array | undefined): void => {
    if (weights === undefined) return
    weighGroups(own, length, weights, 16, 2)
    own.symmetric(length / 16, 4, true)
  }
  inStretches(row, importance, search, ({ values, weights, scales: all }, from) => {
    let d = 0
    if (importance) {
      for (let j = 0; j < 16; j++) scales[j] = all[from / 16 + j]!
      d = symmetric(16, 32, scales, 0, importances, from / 16, scaleCodes, 0)
    } else {
      for (let j = 0; j < 16; j++) scales[j] = symmetricBySweeps(16, 4, values, from + 16 * j, codes, 16 * j)
      const extreme = extremeOf(scales)
      const inverse = extreme === 0 ? 0 : f(-32 / extreme)
      for (let j = 0; j < 16; j++) scaleCodes[j] = extreme === 0 ? 0 : clamp(nearest(f(inverse * scales[j]!)), -32, 31) + 32
      d = extreme === 0 ? 0 : f(1 / inverse)
    }
    for (let j = 0; j < 16; j++) {
      out[at + 96 + (j & 7)]! |= (scaleCodes[j]! & 15) << (j < 8 ? 0 : 4)
      out[at + 104 + (j & 3)]! |= (scaleCodes[j]! >> 4) << (2 * (j >> 2))
      steps[j] = scaleCodes[j]! - 32
    }
    putHalf(out, at + 108, d)
    // Sweeps have left their codes.
    recode(values, from, f16Value(f16Bits(d)), 4, (j) => importance && symmetric(16, 4, values, from + 16 * j, weights, from + 16 * j, codes, 16 * j))
    putBits(out, at, 2)
    putPairs(out, at + 32, 0)
    at += 110
  })
}

export const encodeQ6K: RowEncoder = (row, importance, out) => {
  let at = 0
  const search = (own: Stretch, length: number, weights: Float32Array | undefined): void => {
    if (weights) own.weights.set(weights)
    own.symmetric(length / 16, 32, weights !== undefined)
  }
  inStretches(row, importance, search, ({ values, weights, scales: all }, from) => {
    const to = at
    at += 210
    for (let j = 0; j < 16; j++) scales[j] = all[from / 16 + j]!
    const extreme = extremeOf(scales)
    if (Math.abs(extreme) < nothing) return
    const inverse = f(-128 / extreme), d = f16Value(f16Bits(f(1 / inverse)))
    for (let j = 0; j < 16; j++) out[to + 192 + j] = steps[j] = Math.min(127, nearest(f(inverse * scales[j]!)))
    putHalf(out, to + 208, d)
    recode(values, from, d, 32, (j) => symmetric(16, 32, values, from + 16 * j, importance && weights, from + 16 * j, codes, 16 * j))
    for (let h = 0; h < 2; h++)
      for (let l = 0; l < 64; l++) out[to + 64 * h + l] = (codes[128 * h + l]! & 15) | (codes[128 * h + 64 + l]! & 15) << 4
    putPairs(out, to + 128, 4)
  })
}
