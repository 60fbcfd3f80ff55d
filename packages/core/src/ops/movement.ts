import { reshaped } from "../coordinates.ts"
import { fail, showShape } from "../errors.ts"
import { add, and, constant, div, eq, ge, int, lt, max, min, mul, rem, select, sub, type Expr } from "../expr.ts"
import { axesOf, axisOf, broadcastShapes, checkShape, resolveShape, sameShape, sizeOf, type Shape } from "../shape.ts"
import { scalarOf } from "../dtype.ts"
import { apply, checkTensor, type Op, type Tensor } from "../tensor.ts"
import { sum } from "./reduce.ts"

const reshapeOp: Op<Shape> = {
  name: "reshape",
  flat: true,
  meaning: { move: (out, node) => reshaped(out, node.shape, node.sources[0]!.shape) },
  result: ([x], shape) => ({ shape, dtype: x!.dtype }),
  vjp: (dy, _out, [x]) => [reshape(dy, x!.shape)],
}
/** The same elements in row-major order under another shape; one size may be -1. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const to = resolveShape("reshape", shape, x.size)
  return sameShape(x.shape, to) ? x : apply(reshapeOp, [x], to)
}

const permuteOp: Op<readonly number[]> = {
  name: "permute",
  meaning: {
    move: (out, _node, order) => {
      const coords = new Array<Expr>(out.length)
      order.forEach((from, i) => (coords[from] = out[i]!))
      return coords
    },
  },
  result: ([x], order) => ({ shape: order.map((a) => x!.shape[a]!), dtype: x!.dtype }),
  vjp: (dy, _out, _src, order) => [permute(dy, order.map((_, i) => order.indexOf(i)))],
}
/** Axis i of the result is axis order[i] of x; without an order, all axes reversed. */
export function permute(x: Tensor, order?: readonly number[]): Tensor {
  const axes = (order ?? Array.from({ length: x.rank }, (_, i) => x.rank - 1 - i)).map((a) => axisOf("permute", a, x.rank))
  if (axes.length !== x.rank || new Set(axes).size !== x.rank) fail("axis", "permute", `needs each of the ${x.rank} axes once, got [${axes.join(", ")}]`)
  if (axes.every((a, i) => a === i)) return x
  // Elements stay where they are if only axes of size 1 move.
  const long = axes.filter((a) => x.shape[a] !== 1)
  return long.every((a, i) => i === 0 || a > long[i - 1]!) ? reshape(x, axes.map((a) => x.shape[a]!)) : apply(permuteOp, [x], axes)
}
/** Exchanges two axes; the last two unless named. */
export function transpose(x: Tensor, first = -2, second = -1): Tensor {
  const a = axisOf("transpose", first, x.rank), b = axisOf("transpose", second, x.rank)
  return permute(x, x.shape.map((_, i) => (i === a ? b : i === b ? a : i)))
}

const expandOp: Op<Shape> = {
  name: "expand",
  meaning: {
    move: (out, node) => {
      const from = node.sources[0]!.shape, skip = out.length - from.length
      return from.map((n, i) => (n === 1 ? int(0) : out[skip + i]!))
    },
  },
  result: ([x], shape) => ({ shape, dtype: x!.dtype }),
  vjp: (dy, _out, [x]) => [sumTo(dy, x!.shape)],
}
/** Repeats axes of size 1 up to `shape` (-1 keeps a size), adding axes in front, without copying. */
export function expand(x: Tensor, shape: Shape): Tensor {
  if (!Array.isArray(shape)) checkShape("expand", shape)
  if (sameShape(x.shape, shape)) return x
  const skip = shape.length - x.rank
  if (skip < 0) fail("shape", "expand", `${showShape(x.shape)} has more axes than ${showShape(shape)}`)
  const to = shape.map((n, i) => (n === -1 && i >= skip ? x.shape[i - skip]! : n))
  checkShape("expand", to)
  if (!sameShape(broadcastShapes("expand", x.shape, to), to)) fail("shape", "expand", `${showShape(x.shape)} does not expand to ${showShape(to)}`, "only sizes of 1 expand")
  return sameShape(x.shape, to) ? x : apply(expandOp, [x], to)
}
/** Sums the axes that broadcasting from `shape` repeated: the transpose of expand. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x
  const skip = x.rank - shape.length
  const axes = x.shape.map((_, i) => i).filter((i) => i < skip || (shape[i - skip] === 1 && x.shape[i] !== 1))
  return reshape(sum(x, { axis: axes, keepDims: true }), shape)
}

export interface Window { readonly start: readonly number[]; readonly step: readonly number[]; readonly shape: Shape }

const sliceOp: Op<Window> = {
  name: "slice",
  meaning: { move: (out, _node, { start, step }) => out.map((c, i) => add(mul(c, int(step[i]!)), int(start[i]!))) },
  result: ([x], { shape }) => ({ shape, dtype: x!.dtype }),
  vjp: (dy, _out, [x], { start, step }) => [place(dy, x!.shape, start, step)],
}
const placeOp: Op<Window & { fill: number }> = {
  name: "place",
  meaning: {
    at: (read, out, node, { start, step, fill }) => {
      const from = node.sources[0]!.shape
      if (sizeOf(from) === 0) return constant(scalarOf(node.dtype), fill)
      let inside: Expr = constant("bool", 1)
      const coords = out.map((c, i) => {
        const n = from[i]!, by = step[i]!
        const offset = sub(c, int(start[i]!))
        inside = and(inside, and(ge(offset, int(0)), lt(offset, int((n - 1) * by + 1))))
        const held = max(min(offset, int((n - 1) * by)), int(0))
        if (by > 1) inside = and(inside, eq(rem(held, int(by)), int(0)))
        return div(held, int(by))
      })
      return select(inside, read(0, coords), constant(scalarOf(node.dtype), fill))
    },
  },
  result: ([x], { shape }) => ({ shape, dtype: x!.dtype }),
  vjp: (dy, _out, [x], { start, step }) => [window(dy, { start, step, shape: x!.shape })],
}
const window = (x: Tensor, w: Window): Tensor =>
  sameShape(x.shape, w.shape) && w.start.every((s) => s === 0) ? x : apply(sliceOp, [x], w)
/** Puts x's element c at start + c·step of a tensor of `shape` filled with `fill`: the transpose of slice. */
export function place(x: Tensor, shape: Shape, start: readonly number[], step: readonly number[], fill = 0): Tensor {
  return sameShape(x.shape, shape) && start.every((s) => s === 0) ? x : apply(placeOp, [x], { shape, start, step, fill })
}

/** Bounds of one axis: `[start, end]` or `[start, end, step]` with step ≥ 1; negative bounds count from the back, undefined means the end. */
export type Range = readonly [start?: number, end?: number, step?: number] | null
/** A part of x, one range per leading axis (null keeps the axis), as Python's slices. */
export function slice(x: Tensor, ...ranges: Range[]): Tensor {
  if (ranges.length > x.rank) fail("axis", "slice", `${ranges.length} ranges for a tensor of rank ${x.rank}`)
  const start: number[] = [], step: number[] = [], shape: number[] = []
  x.shape.forEach((n, i) => {
    const range: unknown = ranges[i] ?? []
    if (!Array.isArray(range)) fail("value", "slice", `a range is a list [start, end], got ${String(range)}`, "selectAt takes one index of an axis")
    const [from, to, by = 1] = range as unknown as NonNullable<Range>
    for (const bound of [from, to]) if (bound !== undefined && !Number.isInteger(bound)) fail("value", "slice", `bounds must be whole numbers, got ${String(bound)}`)
    if (!Number.isInteger(by) || by < 1) fail("value", "slice", `step must be a whole number ≥ 1, got ${by}`, "flip the axis for a negative step")
    const clip = (v: number): number => Math.min(Math.max(v < 0 ? v + n : v, 0), n)
    const a = clip(from ?? 0), b = clip(to ?? n)
    start.push(a)
    step.push(by)
    shape.push(Math.max(0, Math.ceil((b - a) / by)))
  })
  return window(x, { start, step, shape })
}
/** `length` elements of one axis from `start`; unlike slice, out of range is an error. */
export function narrow(x: Tensor, axis: number, start: number, length: number): Tensor {
  const a = axisOf("narrow", axis, x.rank), n = x.shape[a]!
  if (!Number.isInteger(start) || !Number.isInteger(length)) fail("value", "narrow", `start and length must be whole numbers, got ${String(start)} and ${String(length)}`)
  const from = start < 0 ? start + n : start
  if (!(from >= 0 && length >= 0 && from + length <= n)) fail("index", "narrow", `${length} elements from ${start} leave axis ${axis} of size ${n}`)
  return window(x, { start: x.shape.map((_, i) => (i === a ? from : 0)), step: x.shape.map(() => 1), shape: x.shape.map((s, i) => (i === a ? length : s)) })
}
/** One index of an axis; the axis disappears. */
export function selectAt(x: Tensor, axis: number, at: number): Tensor {
  const a = axisOf("selectAt", axis, x.rank), n = x.shape[a]!
  if (!Number.isInteger(at) || at < -n || at >= n) fail("index", "selectAt", `no index ${at} in axis ${axis} of size ${n}`)
  return reshape(narrow(x, a, at < 0 ? at + n : at, 1), x.shape.filter((_, i) => i !== a))
}

const flipOp: Op<readonly number[]> = {
  name: "flip",
  meaning: { move: (out, node, axes) => out.map((c, i) => (axes.includes(i) ? sub(int(node.shape[i]! - 1), c) : c)) },
  result: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
  vjp: (dy, _out, _src, axes) => [apply(flipOp, [dy], axes)],
}
/** Reverses the order along axes. */
export const flip = (x: Tensor, axes?: number | readonly number[]): Tensor => apply(flipOp, [x], axesOf("flip", axes, x.rank))

const catOp: Op<number> = {
  name: "cat",
  meaning: {
    at: (read, out, node, axis) => {
      const c = out[axis]!
      let end = node.shape[axis]!
      let value: Expr | undefined
      for (let i = node.sources.length - 1; i >= 0; i--) {
        const n = node.sources[i]!.shape[axis]!
        if (n === 0) continue
        const begin = end - n
        const mine = read(i, out.map((o, a) => (a === axis ? max(min(sub(c, int(begin)), int(n - 1)), int(0)) : o)))
        value = value === undefined ? mine : select(lt(c, int(end)), mine, value)
        end = begin
      }
      return value!
    },
  },
  result: (src, axis) => ({ shape: src[0]!.shape.map((n, i) => (i === axis ? src.reduce((s, t) => s + t.shape[i]!, 0) : n)), dtype: src[0]!.dtype }),
  vjp: (dy, _out, src, axis) => {
    let at = 0
    return src.map((s) => narrow(dy, axis, (at += s.shape[axis]!) - s.shape[axis]!, s.shape[axis]!))
  },
}
function checkTensors(op: string, tensors: unknown): void {
  if (!Array.isArray(tensors)) fail("value", op, "needs a list of tensors", `${op}([a, b])`)
  if (tensors.length === 0) fail("value", op, "needs at least one tensor")
  for (const t of tensors) checkTensor(op, t)
}
/** Joins tensors along an existing axis. */
export function cat(tensors: readonly Tensor[], axis = 0): Tensor {
  checkTensors("cat", tensors)
  const first = tensors[0]!
  const a = axisOf("cat", axis, first.rank)
  for (const t of tensors) {
    if (t.dtype !== first.dtype) fail("dtype", "cat", `dtypes differ, ${first.dtype} and ${t.dtype}`, "cast them to one dtype")
    if (t.rank !== first.rank || t.shape.some((n, i) => i !== a && n !== first.shape[i]))
      fail("shape", "cat", `sizes differ outside axis ${axis}, ${showShape(first.shape)} and ${showShape(t.shape)}`)
  }
  return joined(tensors, a)
}
/** At most this many tensors are told apart by one chain of comparisons. */
const mostJoined = 64
function joined(tensors: readonly Tensor[], axis: number): Tensor {
  if (tensors.length === 1) return tensors[0]!
  if (tensors.length <= mostJoined) return apply(catOp, tensors, axis)
  const size = mostJoined ** (Math.ceil(Math.log(tensors.length) / Math.log(mostJoined)) - 1)
  return joined(Array.from({ length: Math.ceil(tensors.length / size) }, (_, i) => joined(tensors.slice(i * size, (i + 1) * size), axis)), axis)
}
/** Joins tensors of one shape along a new axis. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  checkTensors("stack", tensors)
  return cat(tensors.map((t) => unsqueeze(t, axis)), axis)
}
/** Inserts an axis of size 1. */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  const a = axisOf("unsqueeze", axis, x.rank + 1)
  return reshape(x, [...x.shape.slice(0, a), 1, ...x.shape.slice(a)])
}
/** Drops axes of size 1: the named ones, or all. Naming an axis of another size keeps it, as in torch. */
export function squeeze(x: Tensor, axes?: number | readonly number[]): Tensor {
  const list = axesOf("squeeze", axes, x.rank)
  return reshape(x, x.shape.filter((n, i) => n !== 1 || !list.includes(i)))
}
