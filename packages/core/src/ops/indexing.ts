import { bytesOf, dtypes, isFloat, isInteger, scalarOf, type DType } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { and, cast, constant, ge, int, lt, max, min, select, type Expr } from "../expr.ts"
import { axisOf, sameShape, sizeOf } from "../shape.ts"
import { apply, checkTensor, type Op, type Tensor } from "../tensor.ts"
import { along } from "./along.ts"
import { arange } from "./create.ts"
import { castTo, eq, where } from "./elementwise.ts"
import { expand, place, reshape } from "./movement.ts"
import { sum } from "./reduce.ts"

/** `safe`: the indices are known to lie in the axis. `fill`: what a position gets whose index does not. */
interface Gather { readonly axis: number; readonly safe: boolean; readonly fill: number }

const gatherOp: Op<Gather> = {
  name: "gather",
  meaning: {
    at: (read, out, node, { axis, safe, fill }) => {
      const n = node.sources[0]!.shape[axis]!
      const nothing = constant(scalarOf(node.dtype), fill)
      if (sizeOf(node.sources[0]!.shape) === 0) return nothing
      const at = cast(read(1, out), "i32")
      const valueAt = (i: Expr): Expr => read(0, out.map((c, a) => (a === axis ? i : c)))
      if (safe) return valueAt(at)
      return select(and(ge(at, int(0)), lt(at, int(n))), valueAt(max(min(at, int(n - 1)), int(0))), nothing)
    },
  },
  result: ([x, index]) => ({ shape: index!.shape, dtype: x!.dtype }),
  vjp: (dy, _out, [x, index], { axis }) => {
    const start = x!.shape.map(() => 0), step = x!.shape.map(() => 1)
    return [place(scatterSum(dy, index!, axis, x!.shape[axis]!), x!.shape, start, step), null]
  },
  // One table for all examples: one gradient of it, too.
  batched: (src, mapped, a, op) => along<Gather>(a.axis, 1)(src, mapped, a, op),
}

/** What a read outside an axis gives: NaN, or the smallest integer. */
export const outside = (dtype: DType): number =>
  isFloat(dtype) ? NaN : dtypes[dtype].kind === "int" ? -(2 ** (8 * bytesOf(dtype) - 1)) : 0

/** What is between the smallest and the largest element, or more, if the tensor, or what it is a view of, came from the host. */
const boundsOf = (t: Tensor): readonly [number, number] | undefined => t.range ?? ("move" in t.op.meaning && t.sources.length > 0 ? boundsOf(t.sources[0]!) : undefined)

/** Smallest and largest element, if the tensor, or what it is a view of all of, came from the host. */
export function knownRange(t: Tensor): readonly [number, number] | undefined {
  // A view with fewer elements may have left out those that lie outside.
  return t.range ?? ("move" in t.op.meaning && t.sources.length > 0 && t.size >= t.sources[0]!.size ? knownRange(t.sources[0]!) : undefined)
}

/** Refuses what cannot be an index, and known indices outside low … size-1. Tells whether all are known to lie inside. */
export function checkIndex(op: string, index: Tensor, axis: number, size: number, low = 0): boolean {
  checkTensor(op, index, 'make one with tensor(…, { dtype: "i32" })')
  if (!isInteger(index.dtype)) fail("dtype", op, `indices must be integers, got ${index.dtype}`, index.dtype === "bool" ? "select by a mask with maskedSelect or where" : "cast to i32")
  const bounds = boundsOf(index)
  if (bounds === undefined) return index.size === 0
  if (bounds[0] >= low && bounds[1] < size) return true
  const range = knownRange(index)
  if (range === undefined) return index.size === 0
  const wrong = range[0] < low ? range[0] : range[1]
  return fail("index", op, `index ${wrong} is outside axis ${axis} of size ${size}`, size > 0 ? `use ${low} … ${size - 1}` : "the axis is empty")
}

/** Reads with the indices that lie outside the axis as `fill`, known ones too; the rule of {@link gather} otherwise. */
export function gatherOr(x: Tensor, axis: number, index: Tensor, fill: number): Tensor {
  return apply(gatherOp, [x, index], { axis, safe: false, fill })
}

/**
 * Reads x along one axis at the coordinates that `index` holds: out[i, j, k] = x[i, index[i, j, k], k] for axis 1. The
 * result has the shape of `index`, which has x's rank and is no larger than x in the other axes. Indices that the host
 * does not know are not checked; those outside the axis give NaN (the smallest integer in integer tensors).
 */
export function gather(x: Tensor, axis: number, index: Tensor): Tensor {
  const a = axisOf("gather", axis, x.rank)
  checkTensor("gather", index)
  if (index.rank !== x.rank) fail("shape", "gather", `index ${showShape(index.shape)} needs the rank of x ${showShape(x.shape)}`, "take looks up with an index of any shape")
  index.shape.forEach((n, i) => {
    if (i !== a && n > x.shape[i]!) fail("shape", "gather", `index ${showShape(index.shape)} is larger than x ${showShape(x.shape)} (axis ${i}: ${n} > ${x.shape[i]!})`, `only axis ${a} may be longer`)
  })
  return apply(gatherOp, [x, index], { axis: a, safe: checkIndex("gather", index, a, x.shape[a]!), fill: outside(x.dtype) })
}

/** Slices of x along one axis (rows by default) at `index`, whose shape takes the place of that axis: embedding look-up, index_select. */
export function take(x: Tensor, index: Tensor, axis = 0): Tensor {
  const a = axisOf("take", axis, x.rank)
  const before = x.shape.slice(0, a), after = x.shape.slice(a + 1)
  const safe = checkIndex("take", index, a, x.shape[a]!)
  const outer = sizeOf(before), n = index.size, inner = sizeOf(after)
  const rows = apply(gatherOp, [reshape(x, [outer, x.shape[a]!, inner]), expand(reshape(index, [1, n, 1]), [outer, n, inner])], { axis: 1, safe, fill: outside(x.dtype) })
  return reshape(rows, [...before, ...index.shape, ...after])
}

/** [outer, n, inner] values and indices → [outer, size, inner]: out[o, r, i] = Σⱼ (index[o, j, i] = r ? src[o, j, i] : 0). */
const scatterAddOp: Op<number> = {
  name: "scatterAdd",
  meaning: {
    expand: ([src, index], size) => {
      const [outer, n, inner] = src!.shape as [number, number, number]
      const each = (t: Tensor): Tensor => expand(reshape(t, [outer, 1, n, inner]), [outer, size, n, inner])
      const hit = eq(each(index!), reshape(arange(size), [1, size, 1, 1]))
      return sum(where(hit, each(src!), 0), { axis: 2 })
    },
  },
  result: ([src], size) => ({ shape: [src!.shape[0]!, size, src!.shape[2]!], dtype: src!.dtype }),
  vjp: (dy, _out, [, index]) => [gatherOr(dy, 1, index!, 0), null],
  batched: along(0, 0, 1),
  template: {
    dims: ({ sources: [src] }, size) => ({ outer: src!.shape[0]!, n: src!.shape[1]!, inner: src!.shape[2]!, size }),
    loads: ({ sources: [src] }) => ({
      src: { source: 0, shape: src!.shape, coords: (i) => [...i] },
      index: { source: 1, shape: src!.shape, coords: (i) => [...i] },
    }),
  },
}

/**
 * Sums `src` into zeros of `size` along one axis, each element at the coordinate that `index` (of the same shape) holds:
 * the transpose of {@link gather}. Sums in f32 (f64 for f64); indices outside the axis are dropped, except known ones,
 * which are refused.
 */
export function scatterAdd(src: Tensor, index: Tensor, axis: number, size: number): Tensor {
  const a = axisOf("scatterAdd", axis, src.rank)
  if (!Number.isInteger(size) || size < 0) fail("value", "scatterAdd", `size must be a whole number ≥ 0, got ${size}`)
  if (!sameShape(src.shape, index.shape)) fail("shape", "scatterAdd", `src ${showShape(src.shape)} and index ${showShape(index.shape)} must have one shape`, "expand the index")
  if (src.dtype === "bool") fail("dtype", "scatterAdd", "does not take bool", "cast to i32")
  checkIndex("scatterAdd", index, a, size)
  return scatterSum(src, index, a, size)
}

/** {@link scatterAdd} without its checks: indices outside the axis are dropped. */
export function scatterSum(src: Tensor, index: Tensor, axis: number, size: number): Tensor {
  const before = src.shape.slice(0, axis), after = src.shape.slice(axis + 1)
  const normal = [sizeOf(before), src.shape[axis]!, sizeOf(after)]
  const wide = isFloat(src.dtype) ? (src.dtype === "f64" ? "f64" : "f32") : dtypes[src.dtype].scalar === "u32" ? "u32" : "i32"
  const total = apply(scatterAddOp, [castTo(reshape(src, normal), wide), castTo(reshape(index, normal), "i32")], size)
  return castTo(reshape(total, [...before, size, ...after]), src.dtype)
}
