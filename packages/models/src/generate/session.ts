import { argmax, compile, tensor, tensorsOf, type Tensor } from "@thimble/core"
import { cacheLength, createCache, type CacheType, type LayerCache } from "../cache.ts"
import type { Model } from "../model.ts"
import { pieces } from "./pieces.ts"

/** What a model needs to have for text to be generated. */
export type Generator = Pick<Model, "config" | "step" | "tokenizer">

interface Stepping { readonly logits: Tensor; readonly layers: readonly LayerCache[] }

/** Programs of a model: of the first tokens of sequences, and of later ones, one per shape of their arguments. */
function capture(model: Generator) {
  const step = (layers: readonly LayerCache[], ids: Tensor, begin: Tensor | undefined, count: Tensor, position: 0 | Tensor): Stepping => {
    const { logits, cache } = model.step(ids, { layers, ...(begin && { begin }) }, { position, count, at: count.sub(1) })
    return { logits, layers: cache.layers }
  }
  const tokens = model.tokenizer?.size ?? model.config.vocabulary
  return {
    best: compile((layers: readonly LayerCache[], ids: Tensor, begin: Tensor | undefined, position: Tensor) => {
      const { logits, cache } = model.step(ids, { layers, ...(begin && { begin }) }, { position })
      // Rows of the head that no token has are padding.
      const rows = logits.reshape([ids.shape[0]!, model.config.vocabulary]).slice([0, ids.shape[0]!], [0, tokens])
      return { ids: argmax(rows, { axis: 1 }).reshape(ids.shape), layers: cache.layers }
    }, { donate: [0] }),
    first: compile((layers: readonly LayerCache[], ids: Tensor, begin: Tensor | undefined, count: Tensor) => step(layers, ids, begin, count, 0), { donate: [0] }),
    next: compile(step as (layers: readonly LayerCache[], ids: Tensor, begin: Tensor | undefined, count: Tensor, position: Tensor) => Stepping, { donate: [0] }),
  }
}

/** Captured once for each model, for as long as it is there. */
const captured = new WeakMap<Generator, ReturnType<typeof capture>>()
function programsOf(model: Generator): ReturnType<typeof capture> {
  const programs = captured.get(model) ?? capture(model)
  captured.set(model, programs)
  return programs
}

/** How many programs generating has captured for a model. */
export function generatePrograms(model: Generator): number {
  const programs = captured.get(model)
  return programs === undefined ? 0 : programs.first.programs + programs.next.programs
}

/** Sequences side by side, each token of which is computed once. */
export interface Session extends Disposable {
  /** Tokens so far, padding included. */
  readonly position: number
  /** The most it has room for. */
  readonly length: number
  /** Adds the same number of tokens to every sequence, and gives the logits of what follows the last, row by row, until the next push. */
  push(ids: readonly (readonly number[])[]): Promise<Float32Array[]>
  /**
   * What is most probable after `last`, one token of each sequence, then what is after that, `count` times; undefined where the device does
   * nothing beside the host. Each is asked for before the one before it is read, so one more may be computed than is taken.
   */
  best(last: readonly number[], count: number): AsyncGenerator<Int32Array, void> | undefined
}

/** A session for sequences whose first push is padded in front: `begin` says by how much each. */
export function openSession(model: Generator, { batch, length, begin, dtype, signal }: { readonly batch: number; readonly length: number; readonly begin: readonly number[]; readonly dtype?: CacheType; readonly signal?: AbortSignal }): Session {
  const { first, next, best } = programsOf(model)
  const cache = createCache(model, { batch, length, ...(dtype && { dtype }), ...(begin.some((n) => n > 0) && { begin }) })
  let layers = cache.layers, position = 0, read: Float32Array | undefined
  return {
    get position() { return position },
    length: cacheLength(cache),
    async push(rows) {
      const total = rows[0]!.length
      let logits: Tensor | undefined
      for (const { start, count, padded } of pieces(total, position, length)) {
        logits?.dispose()
        signal?.throwIfAborted()
        const ids = new Int32Array(batch * padded)
        rows.forEach((row, i) => ids.set(row.slice(start, start + count), i * padded))
        using at = tensor(ids, { shape: [batch, padded] })
        const made: Stepping = position === 0 ? await first(layers, at, cache.begin, BigInt(count)) : await next(layers, at, cache.begin, BigInt(count), BigInt(position))
        ;({ logits, layers } = made)
        position += count
      }
      const values = (read = (await logits!.raw(read)) as Float32Array), size = values.length / batch
      logits!.dispose()
      return rows.map((_, i) => values.subarray(i * size, (i + 1) * size))
    },
    best(last, count) {
      if (tensorsOf(layers)[0]?.device?.queued !== true) return undefined
      const step = async (ids: Tensor): Promise<Tensor> => {
        const made = await best(layers, ids, cache.begin, BigInt(position++))
        layers = made.layers
        return made.ids
      }
      return (async function* () {
        let ahead: Tensor | undefined
        try {
          using start = tensor(Int32Array.from(last), { shape: [batch, 1] })
          ahead = await step(start)
          for (let n = 1; n <= count; n++) {
            using ids: Tensor = ahead!
            ahead = undefined
            if (n < count) ahead = await step(ids)
            yield (await ids.data()) as Int32Array
          }
        } finally {
          ahead?.dispose()
        }
      })()
    },
    [Symbol.dispose]() {
      cache.begin?.dispose()
      for (const t of tensorsOf(layers)) t.dispose()
    },
  }
}
