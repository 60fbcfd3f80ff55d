import { isFloat } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import type { Tensor } from "../tensor.ts"
import { arange } from "./create.ts"
import { add, castTo, div, mul, sub } from "./elementwise.ts"
import { cos, exp, sin } from "./math.ts"
import { cat, flip, narrow, reshape, unsqueeze } from "./movement.ts"

export interface RotationOptions {
  /** Position of the first row, 0 unless given. A tensor is a run-time value; its axes, if any, become leading axes of the tables. */
  readonly offset?: number | Tensor
  /** Feature pair i turns by base^(−i/pairs) per position; 10000 unless given. */
  readonly base?: number
  /** Angle per position of each pair, instead of those of `base`. */
  readonly frequencies?: Tensor
  /** Positions are divided by this, 1 unless given. */
  readonly scaling?: number
  /** Factor of the rotated values, 1 unless given. */
  readonly magnitude?: number
  /** Which features form pair i of n: i and i + n (`half`, as in transformers), or 2i and 2i + 1 (`interleaved`, as in GGUF's llama). */
  readonly layout?: "half" | "interleaved"
}

/** Cosines [..., t, n] and signed sines of all positions, with an axis for the two features of a pair; the same for every head and layer. */
export interface Rotation { readonly cos: Tensor; readonly sin: Tensor; readonly layout: "half" | "interleaved" }

/** Tables that {@link rope} turns `length` positions of `features` features with; worth sharing among all that are turned alike. */
export function rotation(length: number, features: number, options: RotationOptions = {}): Rotation {
  const { offset = 0, base = 10000, frequencies, scaling = 1, magnitude = 1, layout = "half" } = options
  if (!Number.isInteger(features) || features < 2 || features % 2 !== 0) fail("shape", "rope", `needs an even number of features, got ${features}`)
  if (layout !== "half" && layout !== "interleaved") fail("value", "rope", `no layout '${String(layout)}'`, "half or interleaved")
  if (!(base > 0) || !(scaling > 0)) fail("value", "rope", `base and scaling must be positive, got ${base} and ${scaling}`)
  const pairs = features / 2
  if (frequencies !== undefined && (frequencies.rank !== 1 || frequencies.size !== pairs)) fail("shape", "rope", `frequencies must be [${pairs}], got ${showShape(frequencies.shape)}`)
  const rate = frequencies === undefined ? exp(mul(arange(0, pairs, 1, "f32"), -Math.log(base) / pairs)) : castTo(frequencies, "f32")
  const steps = arange(0, length, 1, "f32")
  const position = typeof offset === "number" ? add(steps, offset) : add(unsqueeze(castTo(offset, "f32"), offset.rank), steps)
  const angle = mul(unsqueeze(scaling === 1 ? position : div(position, scaling), position.rank), rate)
  const axis = angle.rank - (layout === "half" ? 1 : 0), sized = (t: Tensor): Tensor => (magnitude === 1 ? t : mul(t, magnitude))
  // The first feature of a pair gets minus the other's sine.
  const sign = reshape(sub(mul(arange(0, 2, 1, "f32"), 2), 1), layout === "half" ? [2, 1] : [2])
  return { cos: unsqueeze(sized(cos(angle)), axis), sin: mul(unsqueeze(sized(sin(angle)), axis), sign), layout }
}

/**
 * Rotary position embedding of x [..., t, features]: each pair of features is turned by an angle proportional to the
 * position (Su et al., 2021, arXiv:2104.09864). Tables for fewer features leave the last ones as they are.
 */
export function rope(x: Tensor, how: RotationOptions | Rotation = {}): Tensor {
  if (x.rank < 2) fail("shape", "rope", `needs [..., positions, features], got ${showShape(x.shape)}`)
  if (!isFloat(x.dtype)) fail("dtype", "rope", `needs floats, got ${x.dtype}`, "cast to f32 first")
  const [length, features] = x.shape.slice(-2) as [number, number]
  const table = "cos" in how ? how : rotation(length, features, how)
  const pair = table.layout === "half" ? -2 : -1
  const [rows, turned] = [table.sin.shape.at(-3)!, table.sin.shape.at(-1)! * table.sin.shape.at(-2)!]
  if (rows !== length || turned > features) fail("shape", "rope", `tables of ${rows} positions and ${turned} features do not fit ${showShape(x.shape)}`)
  if (turned < features) return cat([rope(narrow(x, -1, 0, turned), table), narrow(x, -1, turned, features - turned)], -1)
  const wide = castTo(x, x.dtype === "f64" ? "f64" : "f32")
  const pairs = reshape(wide, [...x.shape.slice(0, -1), ...table.sin.shape.slice(-2)])
  const y = add(mul(pairs, table.cos), mul(flip(pairs, pair), table.sin))
  if (y.rank !== x.rank + 1) fail("shape", "rope", `tables ${showShape(table.sin.shape)} have more axes than ${showShape(x.shape)}`)
  return castTo(reshape(y, x.shape), x.dtype)
}
