// Rounding that training sees through: forward it is what will be stored, backward it is the identity where codes reach.
import { apply, castTo, clamp, customVjp, expand, fail, mul, eq, add, reshape, showShape, sub, tensor, where, type Op, type Tensor } from "@thimble/core"
import type { QuantizedFormat } from "../quantizer.ts"
import { fromGroups, inGroups, nearestCode, rangeOf, roundOn, type IntegerFormat } from "../format/integers.ts"

/** `value`, with the gradient of x: as if nothing had happened, but none where `inside` (bool) is false. Bengio et al., arXiv 1308.3432. */
export function straightThrough(x: Tensor, value: Tensor, inside?: Tensor): Tensor {
  const src = inside === undefined ? [x, value] : [x, value, inside]
  return customVjp((_x, value) => value!, (dy, _out, _x, _value, inside) => [inside === undefined ? dy : where(inside, dy, 0), ...src.slice(1).map(() => null)])(...src)
}

/** Integers on a fixed grid: x̂ = (clamp(round(x/scale) + zero, low, high) − zero)·scale, halves to even. */
export interface FixedGrid {
  /** Numbers, or tensors that broadcast to x. */
  readonly scale: Tensor | number
  /** A whole number; 0 unless given. */
  readonly zero?: Tensor | number
  readonly low: number
  readonly high: number
}

/** The format's own encoder and decoder, on the host. */
const storedOp: Op<QuantizedFormat> = {
  name: "stored",
  meaning: { routine: ([x], _node, format) => format.decode(format.encode(x!.data as Float32Array, x!.shape as [number, number]), x!.shape as [number, number]) },
  result: ([x]) => ({ shape: x!.shape, dtype: "f32" }),
}

/** How a format lays its integers, if it says so. */
export const integersOf = (format: QuantizedFormat): IntegerFormat["integers"] | undefined => ("integers" in format ? (format as IntegerFormat).integers : undefined)

/**
 * x [..., columns] as it is once it was stored in a format, rows by themselves: decode(encode(x)), bit for bit, f32. The
 * gradient passes where codes reach; formats fit their scales to the values, so that is everywhere but where rounding a scale
 * cuts off the largest ones. `int` formats are computed where x is, others on the host. On a grid given beforehand the gradient
 * is 1 within its range and 0 beyond. What an encoder would refuse (scales beyond f16, say) is no number here.
 */
export function fakeQuantize(x: Tensor, how: QuantizedFormat | FixedGrid): Tensor {
  const wide = castTo(x, "f32")
  if (!("encode" in how)) return onGrid(wide, how)
  if (x.rank === 0) fail("shape", "fakeQuantize", "needs rows, got a single number")
  const columns = x.shape.at(-1)!, shape = [x.size / Math.max(1, columns), columns] as const
  if (columns % (how.unit ?? 1) !== 0) fail("shape", "fakeQuantize", `${how.name} stores rows of whole multiples of ${how.unit}, got ${showShape(x.shape)}`)
  if (x.size === 0) return wide
  const flat = reshape(wide, shape), integers = integersOf(how)
  if (integers === undefined) return reshape(straightThrough(flat, apply(storedOp, [flat], how)), x.shape)
  const grouped = inGroups(integers, flat), { scale, zero } = rangeOf(integers, grouped)
  const { steps, inside } = roundOn(integers, grouped, scale, zero)
  return reshape(straightThrough(flat, fromGroups(mul(steps, scale), shape), fromGroups(inside, shape)), x.shape)
}

function onGrid(x: Tensor, { scale, zero = 0, low, high }: FixedGrid): Tensor {
  if (!(Number.isInteger(low) && Number.isInteger(high) && low < high && high - low < 2 ** 9)) fail("value", "fakeQuantize", `codes go from one whole number to a larger one, got ${low} … ${high}`)
  if (typeof scale === "number" && !(scale > 0 && scale < Infinity)) fail("value", "fakeQuantize", `the scale must be finite and > 0, got ${scale}`)
  const s = expand(typeof scale === "number" ? tensor(Math.fround(scale)) : castTo(scale, "f32"), x.shape)
  const z = typeof zero === "number" ? zero : castTo(zero, "f32")
  const free = add(nearestCode(clampTo(x, s), s), z), held = clamp(free, low, high)
  return straightThrough(x, mul(sub(held, z), s), eq(free, held))
}
/** Within what {@link nearestCode} takes; what lies farther out is beyond the codes, too. */
const clampTo = (x: Tensor, s: Tensor): Tensor => where(x.gt(mul(s, 1024)), mul(s, 1024), where(x.lt(mul(s, -1024)), mul(s, -1024), x))
