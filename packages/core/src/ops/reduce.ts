import { isFloat, type DType } from "../dtype.ts"
import { fail } from "../errors.ts"
import { axesOf, reducedShape } from "../shape.ts"
import { apply, type Op, type Tensor } from "../tensor.ts"
import type { Combine } from "../kernel.ts"
import { castTo, div, eq, mul, neg, not, where } from "./elementwise.ts"
import { expand, reshape } from "./movement.ts"
import { zerosLike } from "./create.ts"

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

function reduce(op: Op<readonly number[]>, x: Tensor, { axis, keepDims = false }: ReduceOptions): Tensor {
  const axes = axesOf(op.name, axis, x.rank)
  const y = axes.length === 0 ? x : apply(op, [x], axes)
  return keepDims ? y : reshape(y, reducedShape(x.shape, axes, false))
}
/** Small integers and bool are summed in i32. */
const wide = (x: Tensor): Tensor => {
  const to: Partial<Record<DType, DType>> = { bool: "i32", i8: "i32", i16: "i32", u8: "i32", u16: "i32" }
  return castTo(x, to[x.dtype] ?? x.dtype)
}

/** Sum over axes; an empty sum is 0. Small integers and bool add up in i32. */
export const sum = (x: Tensor, options: ReduceOptions = {}): Tensor => reduce(sumOp, wide(x), options)
/** Product over axes; an empty product is 1. */
export const prod = (x: Tensor, options: ReduceOptions = {}): Tensor => reduce(prodOp, wide(x), options)
/** Mean over axes, of floats; an empty mean is NaN. */
export function mean(x: Tensor, options: ReduceOptions = {}): Tensor {
  if (!isFloat(x.dtype)) fail("dtype", "mean", `needs floats, got ${x.dtype}`, "cast to f32 first")
  const y = sum(x, options)
  return div(y, countOf(x, options))
}
export const countOf = (x: Tensor, { axis }: ReduceOptions): number => axesOf("mean", axis, x.rank).reduce((n, a) => n * x.shape[a]!, 1)

function checkNotEmpty(op: string, x: Tensor, options: ReduceOptions): void {
  if (countOf(x, options) === 0 && x.size === 0)
    fail("value", op, `nothing to reduce in [${x.shape.join(", ")}]`, "an empty reduction has no identity")
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
