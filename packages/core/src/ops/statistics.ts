import { fail } from "../errors.ts"
import { axesOf, reducedCount, reducedShape } from "../shape.ts"
import { apply, type Op, type Tensor } from "../tensor.ts"
import { full } from "./create.ts"
import { abs, add, castTo, div, eq, isFinite, mul, square, sub, where } from "./elementwise.ts"
import { exp, log, pow, sqrt } from "./math.ts"
import { reshape } from "./movement.ts"
import { amax, amin, countNonzero, mean, sum, type ReduceOptions } from "./reduce.ts"
import { checkOptions } from "./options.ts"
import { wideFloat } from "./wide.ts"

// Reductions of several steps. They compute in f32 (f64 for f64) and narrow the result to x's dtype.

interface Over<A> { readonly axes: readonly number[]; readonly with: A }
/** Makes a composite reduction: `steps` keep the reduced axes with size 1. */
function reduction<A>(
  name: string,
  steps: (x: Tensor, over: { axis: readonly number[]; keepDims: true }, attrs: A) => Tensor,
  gradient: (x: Tensor, y: Tensor, axes: readonly number[], attrs: A) => Tensor,
): (x: Tensor, options: ReduceOptions, attrs: A) => Tensor {
  const op: Op<Over<A>> = {
    name,
    meaning: { expand: ([x], { axes, with: attrs }) => steps(x!, { axis: axes, keepDims: true }, attrs) },
    result: ([x], { axes }) => ({ shape: reducedShape(x!.shape, axes, true), dtype: x!.dtype }),
    vjp: (dy, out, [x], { axes, with: attrs }) => [mul(dy, gradient(x!, out, axes, attrs))],
  }
  return (x, options, attrs) => {
    checkOptions(name, options)
    const { axis, keepDims = false } = options
    const axes = axesOf(name, axis, x.rank)
    const y = apply(op, [wideFloat(name, x)], { axes, with: attrs })
    return castTo(reshape(y, reducedShape(x.shape, axes, keepDims)), x.dtype)
  }
}

const logsumexpOver = reduction<undefined>("logsumexp", (x, over) => {
  if (reducedCount("logsumexp", x.shape, over.axis) === 0) return full(reducedShape(x.shape, over.axis, true), -Infinity, x.dtype)
  const most = amax(x, over)
  const shift = where(isFinite(most), most, 0)
  return add(log(sum(exp(sub(x, shift)), over)), shift)
}, (x, y) => exp(sub(x, y)))
/** log Σ exp(x) over axes, without overflow; -∞ of nothing. Its gradient is the softmax, so NaN where all are -∞. */
export const logsumexp = (x: Tensor, options: ReduceOptions = {}): Tensor => logsumexpOver(x, options, undefined)

export interface VarianceOptions extends ReduceOptions {
  /** What is subtracted from the count: 1 (the default) for the unbiased estimate of a sample, 0 for a whole population. */
  readonly correction?: number
}
const divisor = (x: Tensor, axis: readonly number[], correction: number): number => Math.max(0, reducedCount("variance", x.shape, axis) - correction)
const varianceOver = reduction<number>("variance",
  (x, over, correction) => div(sum(square(sub(x, mean(x, over))), over), divisor(x, over.axis, correction)),
  (x, _y, axis, correction) => mul(2 / divisor(x, axis, correction), sub(x, mean(x, { axis, keepDims: true }))))
/** Mean squared distance from the mean, in two passes. Not finite unless the count exceeds the correction: NaN for one element. */
export function variance(x: Tensor, options: VarianceOptions = {}): Tensor {
  checkOptions("variance", options, ["axis", "keepDims", "correction"])
  const { correction = 1, ...over } = options
  return varianceOver(x, over, correction)
}
/** Square root of the {@link variance}; its gradient is 0 where all values are equal. */
export const std = (x: Tensor, options: VarianceOptions = {}): Tensor => rootOf(variance(x, options), sqrt)

/** A root whose gradient at 0 is 0, not infinite. */
function rootOf(x: Tensor, root: (x: Tensor) => Tensor): Tensor {
  const zero = eq(x, 0)
  return where(zero, 0, root(where(zero, 1, x)))
}

export interface VectorNormOptions extends ReduceOptions {
  /** Order of the norm: 2 (the default), 1, Infinity, -Infinity, 0 (the count of what is not 0), or any other number. */
  readonly p?: number
}
/** The p-norm (Σ|x|ᵖ)^(1/p) over axes. Its gradient at 0 is 0; the largest elements share that of the infinite norm. */
export function norm(x: Tensor, options: VectorNormOptions = {}): Tensor {
  checkOptions("norm", options, ["axis", "keepDims", "p"])
  const { p = 2, ...over } = options
  if (Number.isNaN(p)) fail("value", "norm", "p is NaN")
  const v = wideFloat("norm", x)
  return castTo(
    p === 0 ? castTo(countNonzero(v, over), v.dtype)
    : p === 1 ? sum(abs(v), over)
    : p === 2 ? rootOf(sum(square(v), over), sqrt)
    : p === Infinity ? amax(abs(v), over)
    : p === -Infinity ? amin(abs(v), over)
    : rootOf(sum(rootOf(abs(v), (a) => pow(a, p)), over), (s) => pow(s, 1 / p)), x.dtype)
}
