import { crossEntropy } from "@thimble/core"
import { inBatches } from "./batches.ts"
import type { Measured, Metric, Part } from "./metric.ts"
import { prepare, type Text, type TextOptions, type TextProtocol } from "./protocol.ts"
import { meanOf } from "./statistics.ts"

/** `value` is the loss, −log p of a token, in nats; its standard error takes tokens as independent. */
export interface Perplexity extends Measured<TextProtocol> {
  readonly metric: "perplexity"
  /** e to the loss. */
  readonly perplexity: number
  /** Of the perplexity: that of the loss, times the perplexity. */
  readonly perplexityError: number
  /** Loss in bits per byte of the text, which vocabularies do not change; where all of a text was scored. */
  readonly bitsPerByte?: number
}

/** How well a model predicts a text, each token from those before it in its window. */
export function perplexity(text: Text, options: TextOptions = {}): Metric<Perplexity> {
  return {
    name: "perplexity",
    async measure(run) {
      const { protocol, windows, bytes } = await prepare("perplexity", text, options, run.model)
      const parts: Part[] = [], losses = new Float64Array(protocol.scored)
      let at = 0
      await inBatches(run, windows, (ids, targets) => ({ loss: crossEntropy(run.model.forward(ids), targets, { reduction: "none", ignoreIndex: -1 }) }), (row, { loss }) => {
        const { targets, scored } = windows[row]!
        let sum = 0
        loss.forEach((v, i) => {
          if (targets[i]! < 0) return
          losses[at++] = v
          sum += v
        })
        parts.push({ sum, count: scored })
      })
      const { mean, standardError } = meanOf(losses)
      return {
        metric: "perplexity", protocol, value: mean, standardError, perplexity: Math.exp(mean), perplexityError: Math.exp(mean) * standardError,
        ...(bytes !== undefined && { bitsPerByte: (mean * protocol.scored) / Math.LN2 / bytes }), parts,
      }
    },
  }
}
