import { fail, roundHalfEven } from "@thimble/core"
import type { MatrixShape } from "../quantizer.ts"

export interface HqqOptions {
  readonly bits: 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8
  /** Elements of a group; rows are whole multiples of it where groups are along them. */
  readonly group: number
  /** Neighbours along a `row` (unless given), or elements a whole number of rows apart (`column`), as HQQ's axis 0 has it. */
  readonly along?: "row" | "column"
  /** Whether zero points are fitted; `none` leaves them at the least element. */
  readonly search?: "proximal" | "none"
}

export interface HqqResult {
  /** Codes in the order of the weights. */
  readonly codes: Uint8Array
  /** ŵ = (q − zero) · scale for each group; zeros are no whole numbers. */
  readonly scales: Float64Array
  readonly zeros: Float64Array
  /** Group of element i. */
  groupOf(i: number): number
  /** Mean |w − ŵ| of each round, while it fell. */
  readonly errors: readonly number[]
}

/** Exponent of the norm that is made small, weight of its penalty, rounds. */
const p = 0.7, beta = 10, rounds = 20

/**
 * Half-quadratic quantization: no data; zero points that make Σ|w − ŵ|^0.7 small, for which outliers count less, by turns
 * of shrinking what is left and averaging. Source: Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning
 * Models" (2023), and the first solver of its code.
 */
export function solveHqq(weights: Float32Array | Float64Array, [rows, columns]: MatrixShape, { bits, group, along = "row", search = "proximal" }: HqqOptions): HqqResult {
  const n = rows * columns, top = 2 ** bits - 1
  if (weights.length !== n) fail("shape", "hqq", `${weights.length} weights for [${rows}, ${columns}]`)
  if (!(Number.isInteger(group) && group >= 1) || n % group !== 0) fail("value", "hqq", `groups of ${group} do not divide ${n} weights`)
  const wrong = weights.findIndex((v) => !Number.isFinite(v))
  if (wrong >= 0) fail("value", "hqq", `row ${Math.floor(wrong / columns)}, column ${wrong % columns} is ${weights[wrong]}`, "quantize finite weights")
  const count = n / group, groupOf = along === "row" ? (i: number) => Math.floor(i / group) : (i: number) => i % count
  const lo = new Float64Array(count).fill(Infinity), hi = new Float64Array(count).fill(-Infinity)
  weights.forEach((v, i) => {
    const g = groupOf(i)
    lo[g] = Math.min(lo[g]!, v)
    hi[g] = Math.max(hi[g]!, v)
  })
  // Steps per unit; groups of next to one value would need too many.
  const inverse = lo.map((v, g) => (hi[g]! - v <= 1e-4 ? 1 : Math.min(2e4, top / (hi[g]! - v)))), zeros = lo.map((v, g) => -v * inverse[g]!)
  const codes = new Uint8Array(n), errors: number[] = []
  const round = (): void => weights.forEach((v, i) => {
    const g = groupOf(i), q = roundHalfEven(v * inverse[g]! + zeros[g]!)
    codes[i] = q < 0 ? 0 : q > top ? top : q
  })
  for (let turn = 0; search === "proximal" && turn < rounds; turn++) {
    round()
    const sums = new Float64Array(count)
    let error = 0
    weights.forEach((v, i) => {
      const g = groupOf(i), left = v - (codes[i]! - zeros[g]!) / inverse[g]!, size = Math.abs(left)
      error += size
      sums[g]! += codes[i]! - (v - Math.sign(left) * Math.max(0, size - size ** (p - 1) / beta)) * inverse[g]!
    })
    for (let g = 0; g < count; g++) zeros[g] = sums[g]! / group
    if (!(error / n < (errors.at(-1) ?? Infinity))) break
    errors.push(error / n)
  }
  round()
  return { codes, scales: inverse.map((s) => 1 / s), zeros, groupOf, errors }
}
