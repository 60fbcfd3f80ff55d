// Keys and values in int4 as KIVI has them (Liu et al., arXiv 2402.02750): keys lie in blocks of 32 tokens, each feature of a
// block with a scale and a minimum of its own, for outliers of keys stay in their features; values are rounded token by token,
// in groups of features. The tokens of the block that is being filled are kept as they are, and rounded anew with each one.
import { add, amax, amin, apply, arange, castTo, clamp, div, eq, expand, expr, ge, gt, logicalAnd, lt, mul, narrow, pad, remainder, reshape, round, sub, take, truncDivide, unsqueeze, updateSlice, where, zeros, type Expr, type Op, type Tensor } from "@thimble/core"
import { perFeature } from "./cache-tokens.ts"

/** Tokens of a block. */
export const blockTokens = 32
const half = blockTokens / 2, top = 15

/**
 * A layer [batch, kvHeads, …, headSize]. Two tokens share a byte of `keys` and of `values`, number i and i + 16 of a block:
 * [.., slots/2, ..]. Keys have a scale and a minimum (bf16) per block and feature, values per token and group of features.
 */
export interface BlockLayer {
  readonly keys: Tensor
  readonly values: Tensor
  readonly keyScales: Tensor
  readonly keyMins: Tensor
  readonly valueScales: Tensor
  readonly valueMins: Tensor
  /** The block that is being filled, f32. */
  readonly recentKeys: Tensor
  readonly recentValues: Tensor
}

/** Scales and minima of ranges, as they are stored. */
function ranges(lo: Tensor, hi: Tensor): { readonly scales: Tensor; readonly mins: Tensor } {
  const none = gt(lo, hi), mins = castTo(where(none, 0, lo), "bf16")
  return { mins, scales: castTo(mul(clamp(sub(where(none, 0, hi), castTo(mins, "f32")), 0), 1 / top), "bf16") }
}
function codesOf(x: Tensor, scale: Tensor, min: Tensor): Tensor {
  return clamp(where(eq(scale, 0), 0, round(div(sub(x, min), scale))), 0, top)
}
/** Codes [.., tokens, headSize] of whole blocks, two to a byte. */
function packed(codes: Tensor): Tensor {
  const [batch, heads, tokens, size] = codes.shape as [number, number, number, number]
  const pairs = reshape(codes, [batch, heads, tokens / blockTokens, 2, half, size])
  return castTo(reshape(add(narrow(pairs, 3, 0, 1), mul(narrow(pairs, 3, 1, 1), 16)), [batch, heads, tokens / 2, size]), "u8")
}
type Read = (source: number, coords: readonly Expr[]) => Expr
/** Code of the token in a slot, which is the low half of its byte, or the high one. */
function codeAt(read: Read, [b, h, slot, c]: readonly Expr[]): Expr {
  const { add, and, cast, div, int, mul, rem, shr } = expr
  const row = add(mul(div(slot!, int(blockTokens)), int(half)), rem(slot!, int(half)))
  return cast(and(shr(cast(read(0, [b!, h!, row, c!]), "i32"), mul(rem(div(slot!, int(half)), int(2)), int(4))), int(15)), "f32")
}
/** [bytes, scales, minima] → what is stored of all slots, as an expression of whatever kernel reads it. So many neighbouring `tokens` and `features` share a scale. */
const storedOp: Op<{ readonly tokens: number; readonly features: number }> = {
  name: "storedInBlocks",
  cheap: true,
  meaning: {
    at(read, [b, h, slot, c], _node, { tokens, features }) {
      const { add, div, int, mul } = expr, at = [b!, h!, div(slot!, int(tokens)), div(c!, int(features))]
      return add(mul(codeAt(read, [b!, h!, slot!, c!]), read(1, at)), read(2, at))
    },
  },
  result: ([bytes]) => ({ shape: bytes!.shape.with(2, 2 * bytes!.shape[2]!), dtype: "f32" }),
}
/** [x, latest, start] → x with the latest tokens from slot `start` (0-d) on. */
const latestOp: Op<undefined> = {
  name: "latestTokens",
  cheap: true,
  meaning: {
    at(read, [b, h, slot, c], node) {
      const { and, ge, int, lt, max, min, select, sub } = expr, length = node.sources[1]!.shape[2]!, at = sub(slot!, read(2, []))
      return select(and(ge(at, int(0)), lt(at, int(length))), read(1, [b!, h!, max(min(at, int(length - 1)), int(0)), c!]), read(0, [b!, h!, slot!, c!]))
    },
  },
  result: ([x]) => ({ shape: x!.shape, dtype: "f32" }),
}

/** Keys of whole blocks rounded; only tokens that are `valid` [tokens] have a say in the ranges. */
export function roundKeys(x: Tensor, valid: Tensor): Pick<BlockLayer, "keys" | "keyScales" | "keyMins"> {
  const [batch, heads, tokens, size] = x.shape as [number, number, number, number], blocks = tokens / blockTokens
  const own = reshape(x, [batch, heads, blocks, blockTokens, size]), counts = reshape(valid, [blocks, blockTokens, 1])
  const { scales, mins } = ranges(amin(where(counts, own, Infinity), { axis: 3 }), amax(where(counts, own, -Infinity), { axis: 3 }))
  const each = (t: Tensor): Tensor => expand(unsqueeze(castTo(t, "f32"), 3), own.shape)
  return { keys: packed(reshape(codesOf(own, each(scales), each(mins)), x.shape)), keyScales: scales, keyMins: mins }
}
/** Values of whole blocks rounded, token by token. */
export function roundValues(x: Tensor, groups: number): Pick<BlockLayer, "values" | "valueScales" | "valueMins"> {
  const size = x.shape[3]!, grouped = reshape(x, [...x.shape.slice(0, 3), groups, size / groups])
  const { scales, mins } = ranges(amin(grouped, { axis: -1 }), amax(grouped, { axis: -1 }))
  const each = (t: Tensor): Tensor => perFeature(castTo(t, "f32"), size)
  return { values: packed(codesOf(x, each(scales), each(mins))), valueScales: scales, valueMins: mins }
}
/** What is stored of the keys of all slots. */
export const unroundKeys = ({ keys, keyScales, keyMins }: Pick<BlockLayer, "keys" | "keyScales" | "keyMins">): Tensor =>
  apply(storedOp, [keys, keyScales, keyMins], { tokens: blockTokens, features: 1 })
export const unroundValues = ({ values, valueScales, valueMins }: Pick<BlockLayer, "values" | "valueScales" | "valueMins">): Tensor =>
  apply(storedOp, [values, valueScales, valueMins], { tokens: 1, features: values.shape[3]! / valueScales.shape[3]! })

export interface BlockGrowth {
  /** Tokens before the first new one. */
  readonly position: 0 | Tensor
  /** How many of the new tokens count. */
  readonly count: Tensor | number
}

/**
 * Adds keys and values [batch, kvHeads, t, headSize] of new tokens. `seen` is what queries look at: what is stored, and the
 * tokens from the block on that the first new one is in, as they are.
 */
export function growBlocks(layer: BlockLayer, { position, count }: BlockGrowth, k: Tensor, v: Tensor): { readonly layer: BlockLayer; seen(): { readonly keys: Tensor; readonly values: Tensor } } {
  const t = k.shape[2]!, groups = layer.valueScales.shape[3]!
  const held: Tensor | 0 = position === 0 ? 0 : remainder(position, blockTokens), start: Tensor | 0 = position === 0 ? 0 : sub(position, held)
  const single = position !== 0 && t === 1
  const length = single ? blockTokens : Math.ceil(((position === 0 ? 0 : blockTokens - 1) + t) / blockTokens) * blockTokens
  /** Tokens from the start of the block on. */
  const windowOf = (recent: Tensor, more: Tensor): Tensor => {
    const x = castTo(more, "f32"), at = arange(length)
    if (position === 0) return pad(x, [[0, length - t], [0, 0]])
    if (single) return updateSlice(recent, x, { axis: 2, start: held })
    const old = take(recent, clamp(at, 0, blockTokens - 1), 2), fresh = take(x, clamp(sub(at, held), 0, t - 1), 2)
    return where(reshape(lt(at, held), [length, 1]), old, fresh)
  }
  const window = { keys: windowOf(layer.recentKeys, k), values: windowOf(layer.recentValues, v) }
  const total = add(held === 0 ? zeros([], "i32") : held, count)
  const rounded = { ...roundKeys(window.keys, lt(arange(length), total)), ...roundValues(window.values, groups) }
  /** Replaces rows from that of the first slot on, of which `per` slots share one. */
  const write = (old: Tensor, more: Tensor, per: number): Tensor => {
    const from = start === 0 ? 0 : truncDivide(start, per)
    if (position === 0 || single) return updateSlice(old, more, { axis: 2, start: from })
    // The last of these may lie behind the last slot.
    const at = sub(arange(old.shape[2]!), from), rows = more.shape[2]!
    return where(reshape(logicalAnd(ge(at, 0), lt(at, rows)), [old.shape[2]!, 1]), take(more, clamp(at, 0, rows - 1), 2), old)
  }
  /** The tokens of the last block: of a single token's window, which is one block, what is behind it counts for nothing. */
  const recent = (x: Tensor): Tensor => {
    if (single) return x
    const filled = sub(total, remainder(total, blockTokens))
    return take(x, clamp(add(filled, arange(blockTokens)), 0, length - 1), 2)
  }
  const grown: BlockLayer = {
    keys: write(layer.keys, rounded.keys, 2), values: write(layer.values, rounded.values, 2),
    keyScales: write(layer.keyScales, rounded.keyScales, blockTokens), keyMins: write(layer.keyMins, rounded.keyMins, blockTokens),
    valueScales: write(layer.valueScales, rounded.valueScales, 1), valueMins: write(layer.valueMins, rounded.valueMins, 1),
    recentKeys: recent(window.keys), recentValues: recent(window.values),
  }
  return {
    layer: grown,
    seen() {
      const from = start === 0 ? zeros([], "i32") : start, mix = (x: Tensor, stored: Tensor): Tensor => apply(latestOp, [stored, x, from], undefined)
      return { keys: mix(window.keys, unroundKeys(grown)), values: mix(window.values, unroundValues(grown)) }
    },
  }
}
