// Keys and values rounded token by token: int8, one scale for each head of a token, or for groups of its features.
import { abs, amax, castTo, clamp, div, eq, expand, mul, reshape, round, unsqueeze, where, type Tensor } from "@thimble/core"

/** Largest code. */
const top = 127

/** Rounded features [..., headSize]: codes (i8) and scales (bf16) [..., groups]. */
export interface Rounded { readonly codes: Tensor; readonly scales: Tensor }

/** Per-group values [..., groups] for each of `size` features. */
export function perFeature(x: Tensor, size: number): Tensor {
  const groups = x.shape.at(-1)!, lead = x.shape.slice(0, -1)
  if (groups === 1) return expand(x, [...lead, size])
  return reshape(expand(unsqueeze(x, x.rank), [...lead, groups, size / groups]), [...lead, size])
}

/** q = round(x/s) in ±127 with s = amax/127, as it is stored. */
export function roundTokens(x: Tensor, groups: number): Rounded {
  const size = x.shape.at(-1)!, grouped = reshape(castTo(x, "f32"), [...x.shape.slice(0, -1), groups, size / groups])
  const scales = castTo(mul(amax(abs(grouped), { axis: -1 }), 1 / top), "bf16"), s = perFeature(castTo(scales, "f32"), size)
  return { codes: castTo(clamp(where(eq(s, 0), 0, round(div(castTo(x, "f32"), s))), -top, top), "i8"), scales }
}
/** What they stand for: computed where it is read. */
export const unroundTokens = ({ codes, scales }: Rounded): Tensor => mul(castTo(codes, "f32"), perFeature(castTo(scales, "f32"), codes.shape.at(-1)!))
