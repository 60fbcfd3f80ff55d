// A step of a model, as often as it is asked for: a token in, or a prompt, the likeliest next one out, known before the step ends.
import { argmax, compile, tensor, tensorsOf, type Tensor } from "@thimble/core"
import { createCache, type CacheOptions, type LayerCache, type Model } from "@thimble/models"

export interface Decoding {
  /** Makes the token at a position, and waits for it. `asked` is called when all is handed over. */
  token(position: number, asked?: () => void): Promise<void>
  dispose(): void
}

/** `tokens`: how many go in at once. */
export function decoding(model: Model, { tokens = 1, ...cache }: Pick<CacheOptions, "length" | "dtype"> & { readonly tokens?: number }): Decoding {
  type Layers = readonly LayerCache[]
  const step = compile((layers: Layers, ids: Tensor, count: Tensor, position: Tensor) => {
    const { logits, cache } = model.step(ids, { layers }, { position, count, at: count.sub(1) })
    return { next: argmax(logits, { axis: -1 }), layers: cache.layers }
  }, { donate: [0] })
  let layers: Layers = createCache(model, cache).layers, next: Tensor
  const ids = tensor(new Int32Array(tokens).fill(1), { shape: [1, tokens] })
  return {
    async token(position, asked) {
      ({ next, layers } = await step(layers, ids, BigInt(tokens) as never, BigInt(position) as never))
      asked?.()
      await next.data()
      next.dispose()
    },
    dispose() {
      step.dispose()
      for (const t of [...tensorsOf(layers), ids]) t.dispose()
    },
  }
}
