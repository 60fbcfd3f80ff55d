import { fail, showShape } from "../errors.ts"
import { axisOf } from "../shape.ts"
import type { Tensor } from "../tensor.ts"
import { arange } from "./create.ts"
import { eq, isNaN, logicalOr, sub, where } from "./elementwise.ts"
import { gather } from "./indexing.ts"
import { reshape } from "./movement.ts"
import { checkOptions } from "./options.ts"
import { amax, amin } from "./reduce.ts"

/** What an op chose along an axis, and where it stood. */
export interface Chosen {
  /** Carry a gradient, each to the element it came from. */
  readonly values: Tensor
  /** Positions along the axis, i32. */
  readonly indices: Tensor
}
export interface KeepOptions {
  /** Keep the reduced axis with size 1. */
  readonly keepDims?: boolean
}
export interface ArgOptions extends KeepOptions {
  /** The axis; all elements, in row-major order, unless given. */
  readonly axis?: number
}

/** Position of the first best element along an axis, which stays with size 1: NaN is better than all. */
function firstBest(op: string, best: typeof amax, x: Tensor, axis: number): Tensor {
  const n = x.shape[axis]!
  if (n === 0) fail("value", op, `nothing to choose from in ${showShape(x.shape)}`, `axis ${axis} is empty`)
  const over = { axis, keepDims: true }
  // The largest distance from the end is the first position.
  const fromEnd = reshape(arange(n - 1, -1, -1), x.shape.map((_, i) => (i === axis ? n : 1)))
  const hit = logicalOr(eq(x, best(x, over)), isNaN(x))
  return sub(n - 1, amax(where(hit, fromEnd, -1), over))
}
const without = (x: Tensor, axis: number, keepDims: boolean): Tensor => (keepDims ? x : reshape(x, x.shape.filter((_, i) => i !== axis)))

const argOf = (name: string, best: typeof amax) => (x: Tensor, options: ArgOptions = {}): Tensor => {
  checkOptions(name, options)
  const { axis, keepDims = false } = options
  if (axis !== undefined) {
    const a = axisOf(name, axis, x.rank)
    return without(firstBest(name, best, x, a), a, keepDims)
  }
  if (x.size === 0) fail("value", name, `nothing to choose from in ${showShape(x.shape)}`)
  return reshape(firstBest(name, best, reshape(x, [x.size]), 0), keepDims ? x.shape.map(() => 1) : [])
}
/** Position of the largest element, i32; the first of equal ones; NaN wins. */
export const argmax = argOf("argmax", amax)
/** Position of the smallest element, i32; the first of equal ones; NaN wins. */
export const argmin = argOf("argmin", amin)

const chooser = (name: string, best: typeof amax) => (x: Tensor, axis: number, { keepDims = false }: KeepOptions = {}): Chosen => {
  const a = axisOf(name, axis, x.rank)
  const indices = firstBest(name, best, x, a)
  return { values: without(gather(x, a, indices), a, keepDims), indices: without(indices, a, keepDims) }
}
/** Largest elements along an axis and where they stand; the first of equal ones, which alone gets the gradient; NaN wins. */
export const max = chooser("max", amax)
/** Smallest elements along an axis and where they stand; the first of equal ones, which alone gets the gradient; NaN wins. */
export const min = chooser("min", amin)
