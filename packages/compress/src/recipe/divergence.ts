import { compile, exp, logSoftmax, sum, type Tensor } from "@thimble/core"
import type { Model } from "@thimble/models"
import type { Calibration } from "./calibration.ts"
import { idsOf, streamOf, type Stream } from "./stream.ts"

/** Where a model was changed: in a block, before which its residual stream is what it was; or anywhere. */
export interface Changed { readonly model: Model; readonly within?: { readonly layer: number; readonly before: Stream } }

/** How far changed models are from one, in nats per token of calibration data: the mean of Σ p·log(p/q) over all positions. */
export interface Divergences {
  of(changed: Changed): Promise<number>
  dispose(): void
}

/**
 * Keeps what the model's head reads, so that of a changed model nothing is computed but what comes after the change, and both heads.
 */
export async function divergencesFrom(model: Model, data: Calibration, signal?: AbortSignal): Promise<Divergences> {
  const ids = idsOf(model, data)
  let last = await streamOf(model, data, signal)
  for (const block of model.blocks()) last = await last.through((x) => block.forward(x), signal)
  return {
    async of({ model: changed, within }) {
      const rest = within && changed.blocks().slice(within.layer)
      const goOn = (x: Tensor): Tensor => (rest === undefined ? changed.forward(x) : changed.head(rest.reduce((y, block) => block.forward(y), x)))
      const step = compile((x: Tensor, end: Tensor) => {
        const p = logSoftmax(model.head(end)), q = logSoftmax(goOn(x))
        return sum(exp(p).mul(p.sub(q)), { axis: -1 })
      })
      let total = 0, count = 0
      try {
        for (const [i, x] of (within?.before.batches ?? ids).entries()) {
          signal?.throwIfAborted()
          using each = await step(x, last.batches[i]!)
          for (const v of (await each.data()) as Float32Array) total += v
          count += each.size
        }
      } finally {
        step.dispose()
      }
      return total / Math.max(1, count)
    },
    dispose() {
      last.dispose()
      for (const t of ids) t.dispose()
    },
  }
}
