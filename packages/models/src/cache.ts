import { add, arange, castTo, cat, clamp, fail, ge, gt, le, logicalAnd, lt, minimum, narrow, pad, remainder, reshape, sub, take, tensor, tensorsOf, unsqueeze, updateSlice, where, zeros, type DType, type Tensor } from "@thimble/core"
import { look, type LookOptions } from "./attend.ts"
import { blockTokens, growBlocks, roundKeys, roundValues, unroundKeys, unroundValues, type BlockLayer } from "./cache-blocks.ts"
import { roundTokens, unroundTokens } from "./cache-tokens.ts"
import type { Config } from "./config.ts"
import { blockShape } from "./shapes.ts"

/** What keys and values are stored in: a dtype, or rounded to so many bits. */
export type CacheType = DType | "int8" | "int4"

/**
 * Keys and values of one layer: [batch, kvHeads, slots, headSize]. In `int8` they are codes, with scales [.., slots, groups]; in
 * `int4` two to a byte, with the other parts of a {@link BlockLayer}.
 */
export interface LayerCache extends Partial<Omit<BlockLayer, "keys" | "values">> { readonly keys: Tensor; readonly values: Tensor }

/**
 * Keys and values of the tokens that a model has seen, so that a later token need not compute them again. A value like all
 * others: a step gives a new one. Token number p is in slot p; layers that look back on a window keep no more slots than
 * that, and their token p is in slot p mod slots.
 */
export interface Cache {
  readonly layers: readonly LayerCache[]
  /** First slot that counts of each sequence [batch] (i32), where they were padded in front to one length. */
  readonly begin?: Tensor
}

export interface CacheOptions {
  /** Sequences side by side; 1 unless given. */
  readonly batch?: number
  /** The most tokens it has room for, padding included; the model's context unless given. */
  readonly length?: number
  /**
   * What keys and values are stored in; f32 unless given. `int8`: token by token, a scale for each head. `int4`: keys feature by
   * feature in blocks of 32 tokens, values token by token, with scales and minima; the tokens of the block that is being
   * filled as they are; layers that look back on a window in int8.
   */
  readonly dtype?: CacheType
  /** Neighbouring features of a token that share a scale in `int8`, and of values in `int4`: a divisor of the head's, and all of them unless given. Smaller groups are nearer, and slower. */
  readonly group?: number
  /** First slot that counts of each sequence, where prompts were padded in front. */
  readonly begin?: Int32Array | readonly number[]
}

/** Slots of a layer in a cache for `length` tokens. */
const slotsOf = ({ windows }: Config, layer: number, length: number): number => {
  const window = windows?.[layer] ?? 0
  return window > 0 ? Math.min(window, length) : length
}
/** What a layer is stored in. */
const typeOf = ({ windows }: Config, layer: number, dtype: CacheType): CacheType => (dtype === "int4" && (windows?.[layer] ?? 0) > 0 ? "int8" : dtype)
/** Groups of a head's features. */
function groupsOf(op: string, { headSize }: Config, group = headSize): number {
  if (!Number.isInteger(group) || group < 1 || headSize % group !== 0) fail("value", op, `groups of ${group} features do not divide heads of ${headSize}`)
  return headSize / group
}

function emptyLayer(config: Config, layer: number, dtype: CacheType, batch: number, slots: number, groups: number): LayerCache {
  const { headSize } = config, { kvHeads } = blockShape(config, layer), make = (rows: number, size: number, type: DType): Tensor => zeros([batch, kvHeads, rows, size], type)
  if (dtype === "int8") return { keys: make(slots, headSize, "i8"), values: make(slots, headSize, "i8"), keyScales: make(slots, groups, "bf16"), valueScales: make(slots, groups, "bf16") }
  if (dtype !== "int4") return { keys: make(slots, headSize, dtype), values: make(slots, headSize, dtype) }
  const blocks = Math.ceil(slots / blockTokens), room = blocks * blockTokens
  return {
    keys: make(room / 2, headSize, "u8"), values: make(room / 2, headSize, "u8"),
    keyScales: make(blocks, headSize, "bf16"), keyMins: make(blocks, headSize, "bf16"), valueScales: make(room, groups, "bf16"), valueMins: make(room, groups, "bf16"),
    recentKeys: make(blockTokens, headSize, "f32"), recentValues: make(blockTokens, headSize, "f32"),
  }
}

/** An empty cache for a model. */
export function createCache({ config }: { readonly config: Config }, { batch = 1, length = config.context, dtype = "f32", group, begin }: CacheOptions = {}): Cache {
  for (const [name, n] of [["batch", batch], ["length", length]] as const)
    if (!Number.isInteger(n) || n < 1) fail("value", "createCache", `${name} must be a whole number from 1, got ${n}`)
  if (begin !== undefined && begin.length !== batch) fail("shape", "createCache", `begin has ${begin.length} elements for ${batch} sequences`)
  if (group !== undefined && dtype !== "int8" && dtype !== "int4") fail("value", "createCache", `nothing is rounded in groups in ${dtype}`)
  return {
    layers: Array.from({ length: config.layers }, (_, layer) => {
      const type = typeOf(config, layer, dtype)
      return emptyLayer(config, layer, type, batch, slotsOf(config, layer, length), groupsOf("createCache", config, group))
    }),
    ...(begin && { begin: tensor(Int32Array.from(begin)) }),
  }
}

/** Slots of a layer. */
export const layerSlots = ({ keys, valueScales = keys }: LayerCache): number => valueScales.shape[2]!
/** The most tokens a cache has room for: the slots of its longest layer, where one keeps all of them. */
export const cacheLength = ({ layers }: Cache): number => Math.max(...layers.map(layerSlots))
/** Bytes of a cache's tensors. */
export const cacheBytes = ({ layers }: Pick<Cache, "layers">): number => tensorsOf(layers).reduce((n, t) => n + t.bytes, 0)

const isBlocks = (layer: LayerCache): layer is BlockLayer => layer.recentKeys !== undefined
type Slots = Readonly<Record<string, Tensor>>
/** New keys and values as the parts of a layer that has a slot for each token. */
function asStored({ keys, keyScales }: LayerCache, k: Tensor, v: Tensor): Slots {
  if (keyScales === undefined) return { keys: castTo(k, keys.dtype), values: castTo(v, keys.dtype) }
  const groups = keyScales.shape[3]!, [ks, vs] = [roundTokens(k, groups), roundTokens(v, groups)]
  return { keys: ks.codes, values: vs.codes, keyScales: ks.scales, valueScales: vs.scales }
}
/** Keys and values that such a layer stands for. */
const asSeen = ({ keys, values, keyScales, valueScales }: LayerCache): { readonly keys: Tensor; readonly values: Tensor } =>
  keyScales === undefined || valueScales === undefined ? { keys, values } : { keys: unroundTokens({ codes: keys, scales: keyScales }), values: unroundTokens({ codes: values, scales: valueScales }) }

/**
 * Keys and values of whole sequences as a cache of some type gives them back: what it costs, for measurements. (Of `int4`, all
 * tokens are rounded; a cache keeps the latest as they are.)
 */
export function throughCache(config: Config, layer: number, dtype: CacheType, k: Tensor, v: Tensor): { readonly keys: Tensor; readonly values: Tensor } {
  const type = typeOf(config, layer, dtype), groups = groupsOf("throughCache", config)
  const back = (x: Tensor): Tensor => unroundTokens(roundTokens(x, groups))
  if (type === "int8") return { keys: back(k), values: back(v) }
  if (type !== "int4") return { keys: castTo(castTo(k, type), "f32"), values: castTo(castTo(v, type), "f32") }
  const t = k.shape[2]!, length = Math.ceil(t / blockTokens) * blockTokens, whole = (x: Tensor): Tensor => pad(castTo(x, "f32"), [[0, length - t], [0, 0]])
  return { keys: narrow(unroundKeys(roundKeys(whole(k), lt(arange(length), t))), 2, 0, t), values: narrow(unroundValues(roundValues(whole(v), groups)), 2, 0, t) }
}

/** Sizes that lengths are rounded up to, so that a program serves many lengths: 1, and powers of two from 8. */
export function bucket(length: number): number {
  if (!Number.isInteger(length) || length < 1) return fail("value", "bucket", `a length is a whole number from 1, got ${length}`)
  return length === 1 ? 1 : Math.max(8, 2 ** Math.ceil(Math.log2(length)))
}

/** New tokens of a cached sequence. */
export interface Growth {
  /** Tokens before the first new one: a number if it is 0, or else a run-time value (i32). */
  readonly position: 0 | Tensor
  /** How many of the new tokens count (i32); the ones behind are padding. */
  readonly count: Tensor | number
  readonly begin?: Tensor
}

/** Position among all tokens → whether a key there counts for a query, sequence by sequence: [batch, 1, queries, keys]. */
function counts(begin: Tensor, keys: Tensor, queries: Tensor): Tensor {
  // Padding sees itself: a row that sees nothing would be NaN, and spread.
  const first = minimum(reshape(begin, [-1, 1, 1, 1]), unsqueeze(queries, 1))
  return ge(keys, first)
}

/** Adds keys and values of new tokens to a layer's cache, and looks at them from their queries [batch, heads, t, d]. */
export function growAndLook(cache: LayerCache, { position, count, begin }: Growth, q: Tensor, k: Tensor, v: Tensor, window: number, how: LookOptions): { readonly cache: LayerCache; readonly seen: Tensor } {
  const t = q.shape[2]!, slots = layerSlots(cache), ring = window > 0 && slots === window
  if (!ring && t > slots) fail("shape", "step", `${t} tokens do not fit a cache of ${slots}`, "make a longer one, or pass them in pieces")
  const queries = add(arange(t), position), slot = ring && position !== 0 ? remainder(position, slots) : position
  const blocks = isBlocks(cache) ? growBlocks(cache, { position, count }, k, v) : undefined
  const grown = blocks?.layer ?? write(cache, asStored(cache, k, v), (old, more) => (ring && t > 1 ? turnRing(old, more, position, count) : writeAt(old, more, slot)))
  // Nothing came before: there is no need to look at the cache.
  if (position === 0) return { cache: grown, seen: look(q, k, v, { ...how, window, ...(begin && { mask: counts(begin, arange(t), queries) }) }) }
  const all = blocks?.seen() ?? asSeen(ring && t > 1 ? cache : grown)
  if (!ring) return { cache: grown, seen: look(q, all.keys, all.values, { ...how, window, offset: position, ...(begin && { mask: counts(begin, arange(slots), queries) }) }) }
  if (t === 1) {
    // All of the ring is in sight; its order does not matter.
    const length = minimum(add(position, 1), slots)
    return { cache: grown, seen: look(q, all.keys, all.values, { ...how, unordered: true, length, ...(begin && { mask: counts(begin, ringPositions(slots, add(position, 1)), queries) }) }) }
  }
  const keys = cat([ringPositions(slots, position), queries]), rows = unsqueeze(queries, 1)
  const seen = [ge(keys, 0), le(keys, rows), gt(keys, sub(rows, window)), ...(begin ? [counts(begin, keys, queries)] : [])].reduce(logicalAnd)
  return { cache: grown, seen: look(q, joined(all.keys, k), joined(all.values, v), { ...how, unordered: true, mask: seen }) }
}

/** The parts of a layer, each with what is new of it. */
const write = (old: LayerCache, more: Slots, put: (old: Tensor, more: Tensor) => Tensor): LayerCache =>
  Object.fromEntries(Object.entries(more).map(([name, x]) => [name, put((old as unknown as Slots)[name]!, x)])) as unknown as LayerCache

const joined = (old: Tensor, more: Tensor): Tensor => cat([castTo(old, more.dtype), more], 2)

/** The newest token in each slot of a ring, of `total` tokens so far; below 0 where there was none: [slots]. */
const ringPositions = (slots: number, total: Tensor | number): Tensor => {
  const newest = sub(total, 1)
  return sub(newest, remainder(sub(newest, arange(slots)), slots))
}

/** A ring after `count` of the new tokens [batch, heads, t, …] from a position on. */
function turnRing(old: Tensor, more: Tensor, position: 0 | Tensor, count: Tensor | number): Tensor {
  const slots = old.shape[2]!, t = more.shape[2]!
  const total = add(typeof position === "number" ? zeros([], "i32") : position, count)
  const at = sub(ringPositions(slots, total), position)
  const taken = take(more, clamp(at, 0, t - 1), 2)
  return where(reshape(ge(at, 0), [slots, 1]), taken, old)
}

/** Writes `more` [batch, heads, t, …] into slots from `start` on: in place, where the cache is donated. */
const writeAt = (old: Tensor, more: Tensor, start: number | Tensor): Tensor => updateSlice(old, more, { axis: 2, start })
