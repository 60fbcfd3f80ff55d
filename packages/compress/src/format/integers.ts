// Rounding to integers as nodes of a graph, to the bit what encoders do on the host: they divide in f64, devices in f32.
import { abs, add, amax, amin, apply, castTo, clamp, div, eq, expand, expr, maximum, minimum, neg, pad, reshape, slice, sub, type Expr, type Op, type Tensor } from "@thimble/core"
import type { MatrixShape, Parts, QuantizedFormat } from "../quantizer.ts"
import type { Grouping, ScaleType } from "./groups.ts"

/** How integers lie over a matrix: ŵ = (q − z)·s for low ≤ q ≤ high, with a scale s, and a zero point z if there are `zeros`, per group. */
export interface Integers {
  readonly low: number
  readonly high: number
  readonly scales: ScaleType
  readonly zeros: boolean
  readonly groups: Grouping
  /** What is stored of codes in rows, and of scales and zero points in the order of their groups. */
  pack(codes: Int16Array, scales: Float32Array, zeros: Int16Array | undefined, shape: MatrixShape): Parts
}

/** A format of integers, which tells how they lie. */
export interface IntegerFormat extends QuantizedFormat { readonly integers: Integers }

const { add: plus, and, bitcast, constant, div: over, eq: equal, gt, int, lt, mul: times, neg: minus, rem, round, select, sub: less } = expr
const number = (x: number): Expr => constant("f32", x)
/** The 12 leading bits of a number and the rest: products of either with a small integer are exact. */
function halves(x: Expr): readonly [Expr, Expr] {
  const leading = bitcast(and(bitcast(x, "i32"), int(~0xfff)), "f32")
  return [leading, less(x, leading)]
}

/**
 * [x, s] → the whole number nearest to x/s, halves to even; 0 for s = 0. The quotient is rounded before it is rounded to a
 * whole number, so that one just beside a half may go to the wrong side: what is left of x, which is exact, tells.
 */
const nearestOp: Op<undefined> = {
  name: "nearestCode",
  meaning: {
    scalar: ([x, s]) => {
      const q = round(over(x!, s!)), [leading, rest] = halves(s!)
      const left = less(less(x!, times(q, leading)), times(q, rest)), twice = plus(left, left)
      return select(equal(s!, number(0)), number(0), plus(q, select(gt(twice, s!), number(1), select(lt(twice, minus(s!)), number(-1), number(0)))))
    },
  },
  result: ([x]) => ({ shape: x!.shape, dtype: "f32" }),
}
/** Nearest whole number to x/s, for |x/s| < 2¹¹; s broadcasts. Has no gradient. */
export const nearestCode = (x: Tensor, s: Tensor): Tensor => apply(nearestOp, [x, expand(s, x.shape)], undefined)

/**
 * [hi, lo] → (hi − lo)/top for lo ≤ 0 ≤ hi, rounded once: the rounding error of the difference (Knuth's two-sum) and what is
 * left of the division decide whether a neighbour of the quotient is nearer.
 */
const rangeOp: Op<number> = {
  name: "rangeStep",
  meaning: {
    scalar: ([hi, lo], _node, top) => {
      const b = minus(lo!), d = plus(hi!, b), part = less(d, hi!), error = plus(less(hi!, less(d, part)), less(b, part))
      const q = over(d, number(top)), [leading, rest] = halves(q), bits = bitcast(q, "i32")
      const left = plus(less(less(d, times(leading, number(top))), times(rest, number(top))), error), twice = plus(left, left)
      const beside = (step: number): Expr => bitcast(plus(bits, int(step)), "f32"), odd = equal(rem(bits, int(2)), int(1))
      const far = (step: number): Expr => times(less(beside(step), q), number(top))
      const passes = (step: 1 | -1): Expr => {
        const [size, bound] = step > 0 ? [twice, far(1)] : [minus(twice), minus(far(-1))]
        return select(odd, expr.le(bound, size), lt(bound, size))
      }
      return select(equal(d, number(0)), number(0), select(passes(1), beside(1), select(passes(-1), beside(-1), q)))
    },
  },
  result: ([hi]) => ({ shape: hi!.shape, dtype: "f32" }),
}

/** A matrix [rows, columns] with the members of each group along the last axis: [.., groups, members], zeros behind a ragged last one. */
export function inGroups({ groups }: Pick<Integers, "groups">, x: Tensor): Tensor {
  const [rows, columns] = x.shape as [number, number], [r, g] = groups.shape([rows, columns])
  if (r !== rows) return reshape(x, [r, g, rows * columns])
  const members = Math.min(groups.size, columns), missing = g * members - columns
  return reshape(missing === 0 ? x : pad(x, [[0, missing]]), [r, g, members])
}
/** The matrix of what {@link inGroups} gave. */
export function fromGroups(x: Tensor, [rows, columns]: MatrixShape): Tensor {
  const [r, g, members] = x.shape as [number, number, number]
  if (r * g * members === rows * columns) return reshape(x, [rows, columns])
  return slice(reshape(x, [rows, g * members]), [], [0, columns])
}

/** A number as scales are stored. */
export const storedScale = (x: Tensor, scales: ScaleType): Tensor => castTo(castTo(x, scales), "f32")

/** Scales and zero points [.., groups, 1] that the encoder finds, f32. */
export function rangeOf({ low, high, scales, zeros }: Integers, grouped: Tensor): { readonly scale: Tensor; readonly zero?: Tensor } {
  const all = { axis: -1, keepDims: true }
  if (!zeros) return { scale: storedScale(div(amax(abs(grouped), all), high), scales) }
  const lo = minimum(amin(grouped, all), 0), hi = maximum(amax(grouped, all), 0)
  const scale = storedScale(apply(rangeOp, [hi, lo], high - low), scales)
  return { scale, zero: clamp(nearestCode(neg(lo), scale), low, high) }
}

/** Steps q − z that groups have on their scales, and which of them the codes reach. */
export function roundOn({ low, high }: Pick<Integers, "low" | "high">, grouped: Tensor, scale: Tensor, zero?: Tensor): { readonly steps: Tensor; readonly inside: Tensor } {
  const free = zero === undefined ? nearestCode(grouped, scale) : add(nearestCode(grouped, scale), zero), held = clamp(free, low, high)
  return { steps: zero === undefined ? held : sub(held, zero), inside: eq(free, held) }
}
