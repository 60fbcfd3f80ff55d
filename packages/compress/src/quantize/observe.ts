// What range activations take, seen batch by batch.
import { fail, roundHalfEven } from "@thimble/core"
import type { Ends, Spread } from "../format/ends.ts"

export interface ObserverOptions {
  /** Bits of the codes; 8 unless given. */
  readonly bits?: 2 | 3 | 4 | 5 | 6 | 7 | 8
  /** Codes of both signs with zero in their middle (`symmetric`, unless given), or from the least to the largest value, zero included. */
  readonly range?: "symmetric" | "asymmetric"
}
export interface EmaOptions extends ObserverOptions {
  /** What each batch counts; 0.01 unless given. */
  readonly weight?: number
}
export interface HistogramOptions extends ObserverOptions {
  /** Bins for either sign, at least half of which are used; 8192 unless given. */
  readonly bins?: number
}

/** How codes lie over what was seen: x̂ = (q − zero) · scale for low ≤ x ≤ high. */
export interface ObservedRange { readonly low: number; readonly high: number; readonly scale: number; readonly zero: number }

/** Takes in batches, and says what range codes should have. */
export interface Observer {
  /** Takes in values of any number; what is padding is left out by the caller. */
  add(values: Float32Array | Float64Array): void
  /** The range so far; all zeros give one of 1 step. */
  range(): ObservedRange
  /** Values that were taken in. */
  readonly seen: number
}

type Codes = Required<ObserverOptions>
function codesOf(op: string, { bits = 8, range = "symmetric" }: ObserverOptions): Codes {
  if (!(Number.isInteger(bits) && bits >= 2 && bits <= 8)) fail("value", op, `bits must be a whole number from 2 to 8, got ${bits}`)
  if (range !== "symmetric" && range !== "asymmetric") fail("value", op, `range must be symmetric or asymmetric, got ${String(range)}`)
  return { bits, range }
}

/** Codes between ends, zero included. */
function lay({ bits, range }: Codes, low: number, high: number): ObservedRange {
  if (range === "symmetric") {
    const end = Math.max(-low, high)
    return { low: -end, high: end, scale: end === 0 ? 1 : end / (2 ** (bits - 1) - 1), zero: 0 }
  }
  const top = 2 ** bits - 1, scale = high === low ? 1 : (high - low) / top
  return { low, high, scale, zero: Math.min(top, Math.max(0, roundHalfEven(-low / scale))) }
}

/** Least and largest value of a batch, zero included; refuses what is no number. */
function endsOf(op: string, values: Float32Array | Float64Array): readonly [low: number, high: number] {
  let low = 0, high = 0
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!
    if (!Number.isFinite(v)) fail("numeric", op, `value ${i} of the batch is ${v}`, "a batch that overflowed says nothing about the others")
    if (v < low) low = v
    if (v > high) high = v
  }
  return [low, high]
}

/** From the least to the largest value of all batches, in whatever order they come and however they are cut. */
export function minMax(options: ObserverOptions = {}): Observer {
  const codes = codesOf("minMax", options)
  let low = 0, high = 0, seen = 0
  return {
    add(values) {
      const own = endsOf("minMax", values)
      low = Math.min(low, own[0])
      high = Math.max(high, own[1])
      seen += values.length
    },
    range: () => lay(codes, low, high),
    get seen() { return seen },
  }
}

/**
 * A running mean of the ends of each batch: low ← low + weight · (low of the batch − low), from those of the first one on. How
 * batches are cut, and their order, matter.
 */
export function ema({ weight = 0.01, ...options }: EmaOptions = {}): Observer {
  const codes = codesOf("ema", options)
  if (!(weight > 0 && weight <= 1)) fail("value", "ema", `weight must be above 0 and up to 1, got ${weight}`)
  let low = 0, high = 0, seen = 0
  return {
    add(values) {
      if (values.length === 0) return
      const own = endsOf("ema", values), share = seen === 0 ? 1 : weight
      low += share * (own[0] - low)
      high += share * (own[1] - high)
      seen += values.length
    },
    range: () => lay(codes, low, high),
    get seen() { return seen },
  }
}

/**
 * Ends that `mse()`, `percentile()` or `entropy()` find in a histogram of all batches. Bins are as wide as a power of two,
 * and pairs of them become one when values reach farther: counts are the same whatever the order of batches and however
 * they are cut. A value is known to a bin, so ends are exact to one, 1/4096 of the largest magnitude with 8192 of them.
 */
export function histogram(ends: Ends, { bins = 8192, ...options }: HistogramOptions = {}): Observer {
  const codes = codesOf("histogram", options)
  if (!(Number.isInteger(bins) && bins >= 16)) fail("value", "histogram", `bins must be a whole number ≥ 16, got ${bins}`)
  const above = new Float64Array(bins), under = new Float64Array(bins)
  let width = 0, low = 0, high = 0, seen = 0, zeros = 0
  const widen = (most: number): void => {
    if (most === 0) return
    if (width === 0) width = 2 ** Math.max(-1074, Math.floor(Math.log2(most)) - Math.ceil(Math.log2(bins)))
    for (; most / width >= bins; width *= 2)
      for (const side of [above, under]) {
        for (let i = 0; i < bins; i++) side[i] = (2 * i < bins ? side[2 * i]! : 0) + (2 * i + 1 < bins ? side[2 * i + 1]! : 0)
      }
  }
  return {
    add(values) {
      const own = endsOf("histogram", values)
      low = Math.min(low, own[0])
      high = Math.max(high, own[1])
      widen(Math.max(-low, high))
      seen += values.length
      for (let i = 0; i < values.length; i++) {
        const v = values[i]!
        if (v === 0) zeros++
        else if (v < 0) under[Math.floor(-v / width)]!++
        else above[Math.floor(v / width)]!++
      }
    },
    range() {
      const [from, to] = ends.find(spreadOf(codes, { above, under, zeros, width, low, high }))
      return lay(codes, from, to)
    },
    get seen() { return seen },
  }
}

interface Bins { readonly above: Float64Array; readonly under: Float64Array; readonly zeros: number; readonly width: number; readonly low: number; readonly high: number }

/** The bins with something in them, each at its end away from zero or at what was the farthest value. */
function spreadOf(codes: Codes, { above, under, zeros, width, low, high }: Bins): Spread {
  const values: number[] = [], counts: number[] = []
  for (let i = under.length - 1; i >= 0; i--)
    if (under[i]! > 0) {
      values.push(Math.max(low, -(i + 1) * width))
      counts.push(under[i]!)
    }
  if (zeros > 0) {
    values.push(0)
    counts.push(zeros)
  }
  for (let i = 0; i < above.length; i++)
    if (above[i]! > 0) {
      values.push(Math.min(high, (i + 1) * width))
      counts.push(above[i]!)
    }
  const whole = lay(codes, low, high), top = 2 ** codes.bits - 1, symmetric = codes.range === "symmetric"
  const [least, most] = symmetric ? [-(2 ** (codes.bits - 1) - 1), 2 ** (codes.bits - 1) - 1] : [0, top]
  return {
    values, counts, symmetric, low: whole.low, high: whole.high,
    levels: symmetric ? most + 1 : Math.max(2, Math.round(((top + 1) * Math.max(high, -low)) / Math.max(high - low, Number.MIN_VALUE))),
    error(from, to) {
      const { scale, zero } = lay(codes, from, to)
      let sum = 0
      values.forEach((v, i) => {
        const q = Math.min(most, Math.max(least, roundHalfEven(v / scale) + zero))
        sum += (v - (q - zero) * scale) ** 2 * counts[i]!
      })
      return sum
    },
  }
}
