import { setImmediate as turn } from "node:timers/promises"
import { compile, crossEntropy, klDivLoss, logSoftmax, mul, slice, sum, tensor, type Tensor } from "@thimble/core"
import { forward, type Config, type Parameters } from "./model.ts"

/** How a text is scored; numbers of different protocols cannot be compared. */
export interface Protocol {
  /** Tokens that a window shows the model. */
  readonly context: number
  /** How far one window lies behind the next. Of each window but the first, only the last `stride` tokens are scored. */
  readonly stride: number
  readonly windows: number
}
export interface Quality {
  /** exp of the mean cross-entropy, per byte. */
  readonly perplexity: number
  /** Mean Kullback–Leibler divergence of the model's predictions from the original's, in nats per byte. */
  readonly divergence: number
  readonly tokens: number
}

/** Bytes of text that a protocol reads. */
export const bytesRead = ({ context, stride, windows }: Protocol): number => context + (windows - 1) * stride + 1

/** Scores a model on a text, and compares it with the original at every scored token. */
export async function evaluate(original: Parameters, model: Parameters, config: Config, text: Uint8Array, protocol: Protocol, batch = 8): Promise<Quality> {
  const { context, stride, windows } = protocol
  if (windows % batch !== 0) throw new RangeError(`${windows} windows are not whole batches of ${batch}`)
  if (text.length < bytesRead(protocol)) throw new RangeError(`the text has ${text.length} bytes, ${bytesRead(protocol)} are to be read`)
  const score = compile((original: Parameters, model: Parameters, window: Tensor, counts: Tensor) => {
    const ids = slice(window, [], [0, context]), next = slice(window, [], [1, context + 1])
    const p = forward(original, config, ids), q = forward(model, config, ids)
    const entropy = crossEntropy(q, next, { reduction: "none" })
    const divergence = sum(klDivLoss(logSoftmax(q), logSoftmax(p), { reduction: "none", logTarget: true }), { axis: 2 })
    return [entropy, divergence].map((t) => sum(mul(t, counts), { axis: 1 }))
  })
  let entropy = 0, divergence = 0, tokens = 0
  for (let w = 0; w < windows; w += batch) {
    const ids = new Uint8Array(batch * (context + 1)), counted = new Float32Array(batch * context)
    for (let b = 0; b < batch; b++) {
      const at = (w + b) * stride
      ids.set(text.subarray(at, at + context + 1), b * (context + 1))
      counted.fill(1, b * context + (w + b === 0 ? 0 : context - stride), (b + 1) * context)
    }
    using window = tensor(ids, { shape: [batch, context + 1] })
    using counts = tensor(counted, { shape: [batch, context] })
    const sums = await score(original, model, window, counts)
    const [e, d] = await Promise.all(sums.map((t) => t.data()))
    for (const t of sums) t.dispose()
    for (let b = 0; b < batch; b++) [entropy, divergence] = [entropy + e![b]!, divergence + d![b]!]
    await turn()
    tokens += counted.reduce((n, one) => n + one, 0)
  }
  score.dispose()
  return { perplexity: Math.exp(entropy / tokens), divergence: divergence / tokens, tokens }
}
