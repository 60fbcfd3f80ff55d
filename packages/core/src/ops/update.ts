import { isInteger } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { and, ge, int, lt, max, min, sub, add, select, type Expr } from "../expr.ts"
import { axisOf, sameShape } from "../shape.ts"
import { apply, checkTensor, describe, type Op, type Tensor } from "../tensor.ts"
import { zeros } from "./create.ts"
import { castTo } from "./elementwise.ts"
import { knownRange } from "./indexing.ts"
import { expand, narrow } from "./movement.ts"

export interface UpdateOptions {
  /** The axis along which `values` is shorter than the target, 0 unless given. */
  readonly axis?: number
  /**
   * Where the first of the values goes: a number (negative ones count from the back), or an integer tensor, which is a
   * run-time value. A 0-d tensor says it for all; one of the shape of the target's first axes, up to `axis` at most, for
   * each of them: [batch] for sequences of different lengths. Run-time values are held so that all values fit.
   */
  readonly start: number | Tensor
}

/** A start that the host knows; the last source is the start otherwise. */
interface Place { readonly axis: number; readonly start: number }
type Read = (source: number, coords: readonly Expr[]) => Expr

/** First of `length` coordinates along the axis, where source number `source` says it. */
function beginning(read: Read, source: number, coords: readonly Expr[], node: Tensor, { axis, start }: Place, length: number): Expr {
  const given = node.sources[source]
  if (given === undefined) return int(start)
  return max(min(read(source, coords.slice(0, given.rank)), int(node.sources[0]!.shape[axis]! - length)), int(0))
}
const at = (coords: readonly Expr[], axis: number, c: Expr): Expr[] => coords.map((own, a) => (a === axis ? c : own))

/** The same over examples: those share what is not mapped, and may start at places of their own. */
const overExamples = <A extends Place>(arrays: number): NonNullable<Op<A>["batched"]> => (src, mapped, attrs, op) => {
  const count = src[mapped.indexOf(true)]!.shape[0]!
  return apply(op, src.map((s, i) => (mapped[i] || (i >= arrays && s.rank === 0) ? s : expand(s, [count, ...s.shape]))), { ...attrs, axis: attrs.axis + 1 })
}

/** [target, values, start?]. */
const updateOp: Op<Place> = {
  name: "updateSlice",
  meaning: {
    at: (read, out, node, place) => {
      const { axis } = place, length = node.sources[1]!.shape[axis]!
      if (node.sources[1]!.size === 0) return read(0, out)
      const offset = sub(out[axis]!, beginning(read, 2, out, node, place, length))
      const held = max(min(offset, int(length - 1)), int(0))
      return select(and(ge(offset, int(0)), lt(offset, int(length))), read(1, at(out, axis, held)), read(0, out))
    },
  },
  into: (read, coords, node, place) =>
    at(coords, place.axis, add(coords[place.axis]!, beginning(read, 2, coords, node, place, node.sources[1]!.shape[place.axis]!))),
  result: ([target]) => ({ shape: target!.shape, dtype: target!.dtype }),
  vjp: (dy, _out, [, values, ...start], place) => [
    apply(updateOp, [dy, zeros(values!.shape, dy.dtype), ...start], place),
    apply(partOp, [dy, ...start], { ...place, length: values!.shape[place.axis]! }),
    ...start.map(() => null),
  ],
  batched: overExamples(2),
}

/** [x, start?] → the part of x that an update of `length` would replace. */
const partOp: Op<Place & { readonly length: number }> = {
  name: "sliceAt",
  meaning: { at: (read, out, node, place) => read(0, at(out, place.axis, add(out[place.axis]!, beginning(read, 1, out, node, place, place.length)))) },
  result: ([x], { axis, length }) => ({ shape: x!.shape.with(axis, length), dtype: x!.dtype }),
  vjp: (dy, _out, [x, ...start], { axis, start: known }) => [apply(updateOp, [zeros(x!.shape, dy.dtype), dy, ...start], { axis, start: known }), ...start.map(() => null)],
  batched: overExamples(1),
}

/**
 * The target with a part replaced: along `axis` the values stand from `start` on, elsewhere nothing changes. `values` has
 * the target's shape but for that axis. In a compiled function that returns it, a target that is donated and that nothing
 * else reads is not copied: only the values are written, into its memory.
 */
export function updateSlice(target: Tensor, values: Tensor, { axis = 0, start }: UpdateOptions): Tensor {
  const name = "updateSlice"
  checkTensor(name, target)
  checkTensor(name, values)
  const a = axisOf(name, axis, target.rank), size = target.shape[a]!
  if (values.dtype !== target.dtype) fail("dtype", name, `dtypes differ, target ${target.dtype} and values ${values.dtype}`, "cast the values")
  if (values.rank !== target.rank || values.shape.some((n, i) => i !== a && n !== target.shape[i])) fail("shape", name, `values ${showShape(values.shape)} and target ${showShape(target.shape)} may differ in axis ${a} only`)
  const length = values.shape[a]!
  if (length > size) fail("shape", name, `${length} values do not fit axis ${a} of size ${size}`)
  const inside = (n: number): void => {
    if (!(n >= 0 && n + length <= size)) fail("index", name, `${length} values from ${typeof start === "number" ? start : n} leave axis ${a} of size ${size}`)
  }
  if (typeof start === "number") {
    if (!Number.isInteger(start)) fail("value", name, `start must be a whole number, got ${start}`)
    const first = start < 0 ? start + size : start
    inside(first)
    return apply(updateOp, [target, values], { axis: a, start: first })
  }
  checkStart(name, start, target, a)
  knownRange(start)?.forEach(inside)
  return apply(updateOp, [target, values, castTo(start, "i32")], { axis: a, start: 0 })
}

function checkStart(name: string, start: Tensor, target: Tensor, axis: number): void {
  if (typeof start !== "object") fail("value", name, `start must be a number or a tensor, got ${describe(start)}`)
  checkTensor(name, start)
  if (!isInteger(start.dtype)) fail("dtype", name, `start must be an integer, got ${start.dtype}`, "pass a bigint to the compiled function, or cast to i32")
  if (start.rank > axis || !sameShape(start.shape, target.shape.slice(0, start.rank)))
    fail("shape", name, `start ${showShape(start.shape)} must be one number, or have the first axes of the target ${showShape(target.shape)}, before axis ${axis}`)
}

export interface SliceAtOptions extends UpdateOptions {
  /** How many neighbours along the axis. */
  readonly length: number
}

/**
 * The part of x that begins at `start` along `axis`: what an {@link updateSlice} there would replace. With a run-time start
 * one compiled program serves all places; for a number it is `narrow`.
 */
export function sliceAt(x: Tensor, { axis = 0, start, length }: SliceAtOptions): Tensor {
  const name = "sliceAt"
  checkTensor(name, x)
  const a = axisOf(name, axis, x.rank), size = x.shape[a]!
  if (!(Number.isInteger(length) && length >= 0 && length <= size)) fail("shape", name, `length must be a whole number up to ${size}, the size of axis ${a}, got ${length}`)
  if (typeof start === "number") {
    const first = start < 0 ? start + size : start
    if (!(Number.isInteger(first) && first >= 0 && first + length <= size)) fail("index", name, `${length} values from ${start} leave axis ${a} of size ${size}`)
    return narrow(x, a, first, length)
  }
  checkStart(name, start, x, a)
  knownRange(start)?.forEach((n) => {
    if (!(n >= 0 && n + length <= size)) fail("index", name, `${length} values from ${n} leave axis ${a} of size ${size}`)
  })
  return apply(partOp, [x, castTo(start, "i32")], { axis: a, start: 0, length })
}
