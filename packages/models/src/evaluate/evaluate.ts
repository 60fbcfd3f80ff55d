import { fail, memory } from "@thimble/core"
import type { Evaluated, Metric } from "./metric.ts"

export interface EvaluateOptions<M extends readonly Metric[]> {
  /** What to measure, in this order. */
  readonly metrics: M
  /** The model that metrics of difference compare with. */
  readonly reference?: Evaluated
  /** Ends the evaluation with an AbortError, soon. */
  readonly signal?: AbortSignal
  /** Called after every batch. */
  readonly onProgress?: (progress: Progress) => void
}
export interface Progress {
  readonly metric: string
  /** Positions computed, of how many, of this metric. */
  readonly done: number
  readonly total: number
}
export interface Report<M extends readonly Metric[]> {
  /** One for each metric, in their order. */
  readonly results: { readonly [I in keyof M]: M[I] extends Metric<infer R> ? R : never }
  /** Stored size of the model's tensors. */
  readonly bytes: number
  /** The most memory that was held after a batch, everything on all devices, temporaries included where they are counted. */
  readonly peakBytes: number
  readonly seconds: number
  /** Positions computed per second, all metrics together, compiling included. */
  readonly tokensPerSecond: number
}

/** Measures a model by one metric after the other. */
export async function evaluate<const M extends readonly Metric[]>(model: Evaluated, options: EvaluateOptions<M>): Promise<Report<M>> {
  const { metrics, reference, signal, onProgress } = options
  if (metrics.length === 0) fail("value", "evaluate", "nothing to measure", "metrics: [perplexity(text)]")
  const begun = performance.now(), results: unknown[] = []
  let positions = 0, peakBytes = held()
  for (const metric of metrics) {
    signal?.throwIfAborted()
    let counted = 0
    results.push(await metric.measure({
      model, ...(reference && { reference }), ...(signal && { signal }),
      progress(done, total) {
        positions += done - counted
        counted = done
        peakBytes = Math.max(peakBytes, held())
        onProgress?.({ metric: metric.name, done, total })
      },
    }))
  }
  const seconds = (performance.now() - begun) / 1000
  return { results: results as Report<M>["results"], bytes: model.bytes, peakBytes, seconds, tokensPerSecond: positions / seconds }
}

const held = (): number => Object.values(memory().devices).reduce((n, { bytes, used }) => n + (used ?? bytes), 0)
