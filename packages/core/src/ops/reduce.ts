import { isFloat } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { axesOf, reducedCount, reducedShape } from "../shape.ts"
import { apply, type Op, type Tensor } from "../tensor.ts"
import type { Combine } from "../kernel.ts"
import { castTo, div, eq, mul, neg, not, where } from "./elementwise.ts"
import { expand, reshape } from "./movement.ts"
import { zerosLike } from "./create.ts"
import { checkOptions } from "./options.ts"
import { wideFloat, widen } from "./wide.ts"

export interface ReduceOptions {
  /** Axis or axes to reduce; all of them unless given. */
  readonly axis?: number | readonly number[]
  /** Keep reduced axes with size 1. */
  readonly keepDims?: boolean
}

const reduceOp = (name: string, combine: Combine, vjp: Op<readonly number[]>["vjp"]): Op<readonly number[]> => ({
  name,
  meaning: { reduce: combine, axes: (axes) => axes },
  result: ([x], axes) => ({ shape: reducedShape(x!.shape, axes, true), dtype: x!.dtype }),
  vjp,
})
const sumOp = reduceOp("sum", "add", (dy, _out, [x]) => [expand(dy, x!.shape)])
const maxOp = reduceOp("max", "max", (dy, out, [x], axes) => {
  // Ties share the gradient evenly.
  const hit = castTo(eq(x!, expand(out, x!.shape)), x!.dtype)
  return [mul(hit, expand(div(dy, apply(sumOp, [hit], axes)), x!.shape))]
})
const prodOp = reduceOp("prod", "mul", (dy, _out, [x], axes) => [mul(expand(dy, x!.shape), productOfOthers(x!, axes))])

/** For each element the product of the others along `axes`, exact with zeros: exclusive products from both sides. */
function productOfOthers(x: Tensor, axes: readonly number[]): Tensor {
  const zero = eq(x, zerosLike(x))
  const zeros = apply(sumOp, [castTo(zero, x.dtype)], axes)
  const rest = apply(prodOp, [where(zero, 1, x)], axes)
  const none = eq(zeros, 0), one = eq(zeros, 1)
  const at = (t: Tensor): Tensor => expand(t, x.shape)
  return where(at(none), div(at(rest), where(zero, 1, x)), where(zero, where(at(one), at(rest), zerosLike(x)), zerosLike(x)))
}

function reduce(op: Op<readonly number[]>, x: Tensor, options: ReduceOptions): Tensor {
  checkOptions(op.name, options)
  const { axis, keepDims = false } = options
  const axes = axesOf(op.name, axis, x.rank)
  const y = axes.length === 0 ? x : apply(op, [x], axes)
  return keepDims ? y : reshape(y, reducedShape(x.shape, axes, false))
}
/** Sum over axes; an empty sum is 0. Small integers and bool add up in i32. */
export const sum = (x: Tensor, options: ReduceOptions = {}): Tensor => reduce(sumOp, widen(x), options)
/** Product over axes; an empty product is 1. */
export const prod = (x: Tensor, options: ReduceOptions = {}): Tensor => reduce(prodOp, widen(x), options)
/** Mean over axes, of floats; an empty mean is NaN. f16 and bf16 are added up in f32. */
export function mean(x: Tensor, options: ReduceOptions = {}): Tensor {
  const total = sum(wideFloat("mean", x), options)
  return castTo(div(total, reducedCount("mean", x.shape, options.axis)), x.dtype)
}

function checkNotEmpty(op: string, x: Tensor, { axis }: ReduceOptions): void {
  if (reducedCount(op, x.shape, axis) === 0) fail("value", op, `nothing to reduce in ${showShape(x.shape)}`, "an empty reduction has no identity")
}
/** Largest value over axes; NaN wins; ties share the gradient. */
export function amax(x: Tensor, options: ReduceOptions = {}): Tensor {
  checkNotEmpty("amax", x, options)
  return reduce(maxOp, x, options)
}
/** Smallest value over axes; NaN wins; ties share the gradient. */
export function amin(x: Tensor, options: ReduceOptions = {}): Tensor {
  checkNotEmpty("amin", x, options)
  const flip = isFloat(x.dtype) ? neg : not
  return flip(reduce(maxOp, flip(x), options))
}

/** Whether some element over axes is not 0; false of nothing. The result is bool. */
export const any = (x: Tensor, options: ReduceOptions = {}): Tensor => reduce(maxOp, castTo(x, "bool"), options)
/** Whether no element over axes is 0; true of nothing. The result is bool. */
export const all = (x: Tensor, options: ReduceOptions = {}): Tensor => not(any(not(castTo(x, "bool")), options))
/** How many elements over axes are not 0, as i32. */
export const countNonzero = (x: Tensor, options: ReduceOptions = {}): Tensor => sum(castTo(x, "bool"), options)
