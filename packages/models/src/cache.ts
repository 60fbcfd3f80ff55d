import { add, arange, castTo, cat, clamp, fail, ge, gt, le, logicalAnd, minimum, remainder, reshape, sub, take, tensor, unsqueeze, updateSlice, where, zeros, type DType, type Tensor } from "@thimble/core"
import { look, type LookOptions } from "./attend.ts"
import type { Config } from "./config.ts"

/** Keys and values of one layer: [batch, kvHeads, slots, headSize]. */
export interface LayerCache { readonly keys: Tensor; readonly values: Tensor }

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
  /** What keys and values are stored in; f32 unless given. */
  readonly dtype?: DType
  /** First slot that counts of each sequence, where prompts were padded in front. */
  readonly begin?: Int32Array | readonly number[]
}

/** Slots of a layer in a cache for `length` tokens. */
const slotsOf = ({ windows }: Config, layer: number, length: number): number => {
  const window = windows?.[layer] ?? 0
  return window > 0 ? Math.min(window, length) : length
}

/** An empty cache for a model. */
export function createCache({ config }: { readonly config: Config }, { batch = 1, length = config.context, dtype = "f32", begin }: CacheOptions = {}): Cache {
  for (const [name, n] of [["batch", batch], ["length", length]] as const)
    if (!Number.isInteger(n) || n < 1) fail("value", "createCache", `${name} must be a whole number from 1, got ${n}`)
  if (begin !== undefined && begin.length !== batch) fail("shape", "createCache", `begin has ${begin.length} elements for ${batch} sequences`)
  const empty = (layer: number): Tensor => zeros([batch, config.kvHeads, slotsOf(config, layer, length), config.headSize], dtype)
  return {
    layers: Array.from({ length: config.layers }, (_, layer) => ({ keys: empty(layer), values: empty(layer) })),
    ...(begin && { begin: tensor(Int32Array.from(begin)) }),
  }
}

/** The most tokens a cache has room for: the slots of its longest layer, where one keeps all of them. */
export const cacheLength = ({ layers }: Cache): number => Math.max(...layers.map((l) => l.keys.shape[2]!))

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
  const t = q.shape[2]!, slots = cache.keys.shape[2]!, ring = window > 0 && slots === window
  if (!ring && t > slots) fail("shape", "step", `${t} tokens do not fit a cache of ${slots}`, "make a longer one, or pass them in pieces")
  const queries = add(arange(t), position), slot = ring && position !== 0 ? remainder(position, slots) : position
  const grown = ring && t > 1
    ? { keys: turnRing(cache.keys, k, position, count), values: turnRing(cache.values, v, position, count) }
    : { keys: writeAt(cache.keys, k, slot), values: writeAt(cache.values, v, slot) }
  // Nothing came before: there is no need to look at the cache.
  if (position === 0) return { cache: grown, seen: look(q, k, v, { ...how, window, ...(begin && { mask: counts(begin, arange(t), queries) }) }) }
  if (!ring) return { cache: grown, seen: look(q, grown.keys, grown.values, { ...how, window, offset: position, ...(begin && { mask: counts(begin, arange(slots), queries) }) }) }
  if (t === 1) {
    // All of the ring is in sight; its order does not matter.
    const length = minimum(add(position, 1), slots)
    return { cache: grown, seen: look(q, grown.keys, grown.values, { ...how, unordered: true, length, ...(begin && { mask: counts(begin, ringPositions(slots, add(position, 1)), queries) }) }) }
  }
  const keys = cat([ringPositions(slots, position), queries]), rows = unsqueeze(queries, 1)
  const seen = [ge(keys, 0), le(keys, rows), gt(keys, sub(rows, window)), ...(begin ? [counts(begin, keys, queries)] : [])].reduce(logicalAnd)
  return { cache: grown, seen: look(q, joined(cache.keys, k), joined(cache.values, v), { ...how, unordered: true, mask: seen }) }
}

const joined = (old: Tensor, more: Tensor): Tensor => cat([castTo(old, more.dtype), more], 2)

/** The newest token in each slot of a ring, of `total` tokens so far; below 0 where there was none: [slots]. */
const ringPositions = (slots: number, total: Tensor | number): Tensor => {
  const newest = sub(total, 1)
  return sub(newest, remainder(sub(newest, arange(slots)), slots))
}

/** A ring after `count` of the new tokens [batch, heads, t, d] from a position on. */
function turnRing(old: Tensor, more: Tensor, position: 0 | Tensor, count: Tensor | number): Tensor {
  const slots = old.shape[2]!, t = more.shape[2]!
  const total = add(typeof position === "number" ? zeros([], "i32") : position, count)
  const at = sub(ringPositions(slots, total), position)
  const taken = take(more, clamp(at, 0, t - 1), 2)
  return where(reshape(ge(at, 0), [slots, 1]), castTo(taken, old.dtype), old)
}

/** Writes `more` [batch, heads, t, d] into slots from `start` on: in place, where the cache is donated. */
const writeAt = (old: Tensor, more: Tensor, start: number | Tensor): Tensor => updateSlice(old, castTo(more, old.dtype), { axis: 2, start })
