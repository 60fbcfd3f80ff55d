import { roundHalfEven } from "@thimble/core"
import { storedAs, type ScaleType } from "../format/groups.ts"

/** How the integers of a group are laid over its values. */
export interface GridOptions {
  readonly bits: 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8
  /** `asymmetric` (unless given): from min(w, 0) to max(w, 0). `symmetric`: ± the largest magnitude, zero in the middle of the codes. */
  readonly range?: "symmetric" | "asymmetric"
  /**
   * Which range: the `whole` of the values (unless given), or that of 80 shrunk ones, by hundredths, with the least
   * Σ|w − ŵ|^2.4 (`search`). Source: Frantar et al., OBC and GPTQ, quantizer.
   */
  readonly ends?: "whole" | "search"
  /** What scales are rounded to before codes are chosen; f64, not at all, unless given. */
  readonly scales?: ScaleType | "f64"
}

/** What the values of a group share. For integers ŵ = (q − zero) · scale, 0 ≤ q < 2^bits. */
export interface Grid { readonly scale: number; readonly zero: number }

/**
 * The values that a group may take, once what it shares is fixed: all that a solver asks of a way to store weights. What is
 * shared is what is stored, so that the stored weights are those that were solved for.
 */
export interface Grids {
  /** The grid of some values. */
  fit(values: Float64Array): Grid
  /** The code of the nearest value of a grid. */
  code(v: number, scale: number, zero: number): number
  /** The value that a code stands for. */
  value(code: number, scale: number, zero: number): number
  /** A scale as it is stored, where codes are evenly spaced: value = (code − zero) · scale. */
  step?(scale: number): number
}

/** Integers on grids of these options. */
export function integerGrids(options: GridOptions): Grids {
  const top = 2 ** options.bits - 1
  return {
    fit: (values) => fitGrid(values, options),
    code: (v, scale, zero) => codeOn(scale, zero, top, v),
    value: (code, scale, zero) => scale * (code - zero),
    step: (scale) => stored(options.scales, scale),
  }
}

/** A scale as it is stored. What rounds to nothing is stored as it is: its group becomes zero. */
const stored = (scales: GridOptions["scales"] = "f64", scale: number): number => (scales === "f64" ? scale : storedAs(scales, scale) || scale)

/** The code of a value on a grid: the nearest, halves to even. */
function codeOn(scale: number, zero: number, top: number, v: number): number {
  const q = roundHalfEven(v / scale) + zero
  return q < 0 ? 0 : q > top ? top : q
}

/** The grid of some values. */
export function fitGrid(values: Float64Array, { bits, range = "asymmetric", ends = "whole", scales = "f64" }: GridOptions): Grid {
  const top = 2 ** bits - 1
  let lo = 0, hi = 0
  for (const v of values) {
    if (v < lo) lo = v
    if (v > hi) hi = v
  }
  if (range === "symmetric") {
    hi = Math.max(-lo, hi)
    if (lo < 0) lo = -hi
  }
  if (lo === 0 && hi === 0) {
    lo = -1
    hi = 1
  }
  const grid = (p: number): Grid => {
    const scale = stored(scales, (p * hi - p * lo) / top)
    return { scale, zero: range === "symmetric" ? (top + 1) / 2 : Math.min(top, Math.max(0, roundHalfEven((-p * lo) / scale))) }
  }
  let best = grid(1)
  if (ends === "whole") return best
  let least = Infinity
  for (let i = 0; i < 80; i++) {
    const tried = grid(1 - i / 100)
    let error = 0
    for (const v of values) error += Math.abs((codeOn(tried.scale, tried.zero, top, v) - tried.zero) * tried.scale - v) ** 2.4
    if (error < least) {
      least = error
      best = tried
    }
  }
  return best
}
