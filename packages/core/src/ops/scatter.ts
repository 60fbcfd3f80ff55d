import { checkDType, type DType } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { axisOf, broadcastShapes, sameShape, sizeOf, type Shape } from "../shape.ts"
import { apply, type Op, type Tensor } from "../tensor.ts"
import { arange } from "./create.ts"
import type { Input } from "./define.ts"
import { add, castTo, eq, ge, lt, mul, where } from "./elementwise.ts"
import { checkIndex, gather, gatherOr, scatterSum, take } from "./indexing.ts"
import { expand, permute, place, reshape, slice } from "./movement.ts"
import { amax } from "./reduce.ts"

/** [outer, n, inner] indices → [outer, size, inner]: the last j with index[o, j, i] = r, or -1. */
const lastWriterOp: Op<number> = {
  name: "lastWriter",
  meaning: {
    expand: ([index], size) => {
      const [outer, n, inner] = index!.shape as [number, number, number]
      const hit = eq(expand(reshape(index!, [outer, 1, n, inner]), [outer, size, n, inner]), reshape(arange(size), [1, size, 1, 1]))
      return amax(where(hit, reshape(arange(n), [1, 1, n, 1]), -1), { axis: 2 })
    },
  },
  result: ([index], size) => ({ shape: [index!.shape[0]!, size, index!.shape[2]!], dtype: "i32" }),
  vjp: () => [null],
}

const origin = (x: Tensor): [number[], number[]] => [x.shape.map(() => 0), x.shape.map(() => 1)]

/** Checks a write along `axis`: index has x's rank, and fits x outside the axis and src everywhere. */
function checkWrite(op: string, x: Tensor, axis: number, index: Tensor, src: Tensor | undefined): number {
  const a = axisOf(op, axis, x.rank)
  if (index.rank !== x.rank || (src !== undefined && src.rank !== x.rank))
    fail("shape", op, `x ${showShape(x.shape)}, index ${showShape(index.shape)}${src ? ` and src ${showShape(src.shape)}` : ""} need one rank`)
  if (src !== undefined && src.dtype !== x.dtype) fail("dtype", op, `dtypes differ, x ${x.dtype} and src ${src.dtype}`, "cast src")
  index.shape.forEach((n, i) => {
    if (i !== a && n > x.shape[i]!) fail("shape", op, `index ${showShape(index.shape)} is larger than x ${showShape(x.shape)} (axis ${i}: ${n} > ${x.shape[i]!})`)
    if (src !== undefined && n > src.shape[i]!) fail("shape", op, `index ${showShape(index.shape)} is larger than src ${showShape(src.shape)} (axis ${i}: ${n} > ${src.shape[i]!})`)
  })
  checkIndex(op, index, a, x.shape[a]!)
  return a
}
const corner = (x: Tensor, shape: Shape): Tensor => slice(x, ...shape.map((n) => [0, n] as const))

/**
 * x with elements replaced along one axis: out[i, index[i, j, k], k] = src[i, j, k] for axis 1. Where several elements
 * go to one place the one with the largest j stays. The index may be smaller than x and src; the rest is untouched.
 */
export function scatter(x: Tensor, axis: number, index: Tensor, src: Tensor | number): Tensor {
  const a = checkWrite("scatter", x, axis, index, typeof src === "object" ? src : undefined)
  if (index.size === 0) return x
  const size = x.shape[a]!
  const before = index.shape.slice(0, a), after = index.shape.slice(a + 1)
  const writer = reshape(apply(lastWriterOp, [castTo(reshape(index, [sizeOf(before), index.shape[a]!, sizeOf(after)]), "i32")], size), [...before, size, ...after])
  const [start, step] = origin(x)
  const value = typeof src === "object" ? place(gatherOr(corner(src, index.shape), a, writer, 0), x.shape, start, step) : src
  const y = where(ge(place(writer, x.shape, start, step, -1), 0), value, x)
  return y.dtype === x.dtype ? y : fail("dtype", "scatter", `${String(src)} is no ${x.dtype}`, "cast x first")
}

/** x plus the sum of src's elements at the places that `index` names along one axis; shapes as for {@link scatter}. */
export function scatterAddTo(x: Tensor, axis: number, index: Tensor, src: Tensor): Tensor {
  const a = checkWrite("scatterAddTo", x, axis, index, src)
  return add(x, place(scatterSum(corner(src, index.shape), index, a, x.shape[a]!), x.shape, ...origin(x)))
}

/** x with the slices of src added at the places `index` (one axis) names: out[:, index[j]] += src[:, j] for axis 1. */
export function indexAdd(x: Tensor, axis: number, index: Tensor, src: Tensor): Tensor {
  const a = axisOf("indexAdd", axis, x.rank)
  if (index.rank !== 1) fail("shape", "indexAdd", `the index needs one axis, got ${showShape(index.shape)}`)
  const want = x.shape.map((n, i) => (i === a ? index.size : n))
  if (!sameShape(src.shape, want)) fail("shape", "indexAdd", `src must be ${showShape(want)}, got ${showShape(src.shape)}`)
  return scatterAddTo(x, a, expand(reshape(index, want.map((_, i) => (i === a ? index.size : 1))), want), src)
}

/** {@link gather} with an index that broadcasts with x outside the axis. */
export function takeAlong(x: Tensor, index: Tensor, axis: number): Tensor {
  const a = axisOf("takeAlong", axis, x.rank)
  if (index.rank !== x.rank) fail("shape", "takeAlong", `index ${showShape(index.shape)} needs the rank of x ${showShape(x.shape)}`)
  const but = (shape: Shape, n: number): number[] => shape.map((m, i) => (i === a ? n : m))
  const common = broadcastShapes("takeAlong", but(x.shape, 1), but(index.shape, 1))
  return gather(expand(x, but(common, x.shape[a]!)), a, expand(index, but(common, index.shape[a]!)))
}

/**
 * Advanced integer indexing, x[i, :, j] as indexTensor(x, [i, null, j]): index tensors broadcast to one shape, which
 * takes the place of the indexed axes if they are neighbours and comes first otherwise. Negative indices count from the
 * back; null keeps an axis, as do the axes after the last index.
 */
export function indexTensor(x: Tensor, indices: readonly (Tensor | null)[]): Tensor {
  if (indices.length > x.rank) fail("axis", "indexTensor", `${indices.length} indices for a tensor of rank ${x.rank}`)
  const axes = indices.flatMap((t, i) => (t === null ? [] : [i]))
  if (axes.length === 0) return x
  const given = axes.map((a) => indices[a]!)
  const shape = given.map((t) => t.shape).reduce((a, b) => broadcastShapes("indexTensor", a, b))
  const kept = x.shape.map((_, i) => i).filter((i) => !axes.includes(i))
  let at: Tensor | undefined, valid: Tensor | undefined
  given.forEach((t, k) => {
    const n = x.shape[axes[k]!]!
    const safe = checkIndex("indexTensor", t, axes[k]!, n, -n)
    const wide = castTo(t, "i32")
    const from = where(lt(wide, 0), add(wide, n), wide)
    at = at === undefined ? from : add(mul(at, n), from)
    if (safe) return
    const inside = mul(ge(from, 0), lt(from, n))
    valid = valid === undefined ? inside : mul(valid, inside)
  })
  const flat = reshape(permute(x, [...axes, ...kept]), [sizeOf(axes.map((a) => x.shape[a]!)), ...kept.map((a) => x.shape[a]!)])
  const picked = take(flat, valid === undefined ? at! : where(valid, at!, -1))
  const first = axes[0]!
  if (!axes.every((a, k) => a === first + k) || first === 0) return picked
  const rank = shape.length
  const order = [...kept.slice(0, first).map((_, i) => rank + i), ...shape.map((_, i) => i), ...kept.slice(first).map((_, i) => rank + first + i)]
  return permute(picked, order)
}

/** x with `value` where the mask (bool, broadcast to x) holds. */
export function maskedFill(x: Tensor, mask: Tensor, value: Input): Tensor {
  if (!sameShape(broadcastShapes("maskedFill", x.shape, mask.shape), x.shape)) fail("shape", "maskedFill", `the mask ${showShape(mask.shape)} does not broadcast to ${showShape(x.shape)}`)
  if (mask.dtype !== "bool") fail("dtype", "maskedFill", `the mask must be bool, got ${mask.dtype}`, "compare it with something")
  if (typeof value === "object" && value.size !== 1) fail("shape", "maskedFill", `the value must be one number, got ${showShape(value.shape)}`, "use where")
  const one = typeof value === "object" ? castTo(reshape(value, []), x.dtype) : value
  const y = where(mask, one, x)
  return y.dtype === x.dtype ? y : fail("dtype", "maskedFill", `${String(value)} is no ${x.dtype}`, "cast x first")
}

/** 1 where the last, new axis of size `classes` has the coordinate that `index` holds; rows of other indices are zero. */
export function oneHot(index: Tensor, classes: number, dtype: DType = "i32"): Tensor {
  if (!Number.isInteger(classes) || classes < 0) fail("value", "oneHot", `needs a whole number of classes ≥ 0, got ${classes}`)
  checkIndex("oneHot", index, index.rank, classes)
  return castTo(eq(reshape(castTo(index, "i32"), [...index.shape, 1]), arange(classes)), checkDType("oneHot", dtype))
}
