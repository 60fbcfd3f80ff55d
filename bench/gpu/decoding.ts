// A step of decoding, as often as it is asked for: a token in, the likeliest next one out, known before the step ends.
import { argmax, compile, tensor, tensorsOf, type Tensor } from "@thimble/core"
import { createCache, type CacheOptions, type LayerCache, type Model } from "@thimble/models"

export interface Decoding {
  /** Makes the token at a position, and waits for it. `asked` is called when all is handed over. */
  token(position: number, asked?: () => void): Promise<void>
  dispose(): void
}

export function decoding(model: Model, cache: Pick<CacheOptions, "length" | "dtype">): Decoding {
  type Layers = readonly LayerCache[]
  const step = compile((layers: Layers, ids: Tensor, count: Tensor, position: Tensor) => {
    const { logits, cache } = model.step(ids, { layers }, { position, count, at: count.sub(1) })
    return { next: argmax(logits, { axis: -1 }), layers: cache.layers }
  }, { donate: [0] })
  let layers: Layers = createCache(model, cache).layers, next: Tensor
  const ids = tensor(Int32Array.of(1), { shape: [1, 1] })
  return {
    async token(position, asked) {
      ({ next, layers } = await step(layers, ids, 1n as never, BigInt(position) as never))
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
