import { fail, showShape } from "../errors.ts"
import { add, int, rem } from "../expr.ts"
import { axisOf, sizeOf, type Shape } from "../shape.ts"
import { apply, type Op, type Tensor } from "../tensor.ts"
import { expand, permute, reshape, transpose, unsqueeze } from "./movement.ts"

/** {@link expand} under NumPy's name. */
export const broadcastTo = expand

/** Moves axes to new places, keeping the order of the others. */
export function moveAxis(x: Tensor, from: number | readonly number[], to: number | readonly number[]): Tensor {
  const sources = [from].flat().map((a) => axisOf("moveAxis", a, x.rank)), places = [to].flat().map((a) => axisOf("moveAxis", a, x.rank))
  if (sources.length !== places.length || new Set(sources).size !== sources.length || new Set(places).size !== places.length)
    fail("axis", "moveAxis", `needs as many different places as axes, got [${sources.join(", ")}] to [${places.join(", ")}]`)
  const others = x.shape.map((_, i) => i).filter((i) => !sources.includes(i))
  return permute(x, x.shape.map((_, i) => (places.includes(i) ? sources[places.indexOf(i)]! : others.shift()!)))
}

/** Joins the axes `first` … `last` into one; a scalar becomes one element. */
export function flattenAxes(x: Tensor, first = 0, last = -1): Tensor {
  if (x.rank === 0) return reshape(x, [1])
  const a = axisOf("flattenAxes", first, x.rank), b = axisOf("flattenAxes", last, x.rank)
  if (a > b) fail("axis", "flattenAxes", `the first axis, ${first}, comes after the last, ${last}`)
  return reshape(x, [...x.shape.slice(0, a), sizeOf(x.shape.slice(a, b + 1)), ...x.shape.slice(b + 1)])
}

const rollOp: Op<readonly number[]> = {
  name: "roll",
  meaning: { move: (out, node, shifts) => out.map((c, i) => (shifts[i] === 0 ? c : rem(add(c, int(node.shape[i]! - shifts[i]!)), int(node.shape[i]!)))) },
  result: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
  vjp: (dy, _out, [x], shifts) => [apply(rollOp, [dy], shifts.map((s, i) => (s === 0 ? 0 : x!.shape[i]! - s)))],
}
/** Shifts elements along axes; what leaves at the end comes in at the start. Without axes, the tensor is rolled as if flat. */
export function roll(x: Tensor, shifts: number | readonly number[], axes?: number | readonly number[]): Tensor {
  const by = [shifts].flat()
  if (by.some((s) => !Number.isInteger(s))) fail("value", "roll", `shifts must be whole numbers, got [${by.join(", ")}]`)
  if (axes === undefined) return by.length === 1 ? reshape(roll(reshape(x, [x.size]), by, 0), x.shape) : fail("axis", "roll", `${by.length} shifts need ${by.length} axes`)
  const along = [axes].flat().map((a) => axisOf("roll", a, x.rank))
  if (along.length !== by.length) fail("axis", "roll", `${by.length} shifts for ${along.length} axes`)
  const total = x.shape.map(() => 0)
  along.forEach((a, i) => {
    const n = Math.max(1, x.shape[a]!)
    total[a] = (((total[a]! + by[i]!) % n) + n) % n
  })
  return total.every((s) => s === 0) ? x : apply(rollOp, [x], total)
}

/** Tiles x: `times[i]` copies along axis i, counted from the last; more counts than axes add axes in front. */
export function repeat(x: Tensor, times: readonly number[]): Tensor {
  if (times.length < x.rank || times.some((t) => !Number.isInteger(t) || t < 0)) fail("value", "repeat", `needs a whole count ≥ 0 for each axis of ${showShape(x.shape)}, got [${times.join(", ")}]`)
  const shape = [...times.slice(x.rank).map(() => 1), ...x.shape]
  const apart = shape.flatMap((n) => [1, n]), copied = shape.flatMap((n, i) => [times[i]!, n])
  return reshape(expand(reshape(x, apart), copied), shape.map((n, i) => n * times[i]!))
}
/** Every element `times` times in a row along an axis; without an axis, of the flat tensor. */
export function repeatInterleave(x: Tensor, times: number, axis?: number): Tensor {
  if (!Number.isInteger(times) || times < 0) fail("value", "repeatInterleave", `needs a whole count ≥ 0, got ${times}`)
  if (axis === undefined) return repeatInterleave(reshape(x, [x.size]), times, 0)
  const a = axisOf("repeatInterleave", axis, x.rank)
  const with_ = (n: readonly number[]): Shape => [...x.shape.slice(0, a), ...n, ...x.shape.slice(a + 1)]
  return reshape(expand(unsqueeze(x, a + 1), with_([x.shape[a]!, times])), with_([x.shape[a]! * times]))
}

/** Coordinate grids: tensor i (one axis each) varies along axis i of every result; "xy" exchanges the first two axes. */
export function meshgrid(tensors: readonly Tensor[], indexing: "ij" | "xy" = "ij"): Tensor[] {
  const shape = tensors.map((t) => (t.rank <= 1 ? t.size : fail("shape", "meshgrid", `needs tensors of one axis, got ${showShape(t.shape)}`)))
  const grids = tensors.map((t, i) => expand(reshape(t, shape.map((_, j) => (j === i ? t.size : 1))), shape))
  return indexing === "xy" && shape.length > 1 ? grids.map((g) => transpose(g, 0, 1)) : grids
}
