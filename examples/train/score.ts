import { compile, crossEntropy, slice, sum, tensor, type Tensor } from "@thimble/core"
import { forward, type Config, type Parameters } from "../demo/model.ts"

/** What a text's tokens cost a model. */
export interface Score {
  /** exp of the mean cross-entropy, per token. */
  readonly perplexity: number
  /** Tokens that were predicted. */
  readonly tokens: number
}

/**
 * Perplexity on tokens that are cut into blocks: `begin` and the next context − 1 tokens, all of which are scored. Tokens
 * that fill no block at the end are left out. Returns a function for parameters, and what releases its program.
 */
export function scorer(config: Config, text: Int32Array, { begin, blocks = Infinity, batch = 8 }: { readonly begin: number; readonly blocks?: number; readonly batch?: number }) {
  const own = config.context - 1
  const count = Math.floor(Math.min(blocks, text.length / own) / batch) * batch
  if (count === 0) throw new RangeError(`${text.length} tokens do not fill ${batch} blocks of ${own}`)
  const cost = compile((parameters: Parameters, ids: Tensor) =>
    sum(crossEntropy(forward(parameters, config, slice(ids, [], [0, own])), slice(ids, [], [1, own + 1]), { reduction: "none" })))
  const score = async (parameters: Parameters): Promise<Score> => {
    let total = 0
    for (let b = 0; b < count; b += batch) {
      const ids = new Int32Array(batch * config.context)
      for (let i = 0; i < batch; i++) {
        ids[i * config.context] = begin
        ids.set(text.subarray((b + i) * own, (b + i + 1) * own), i * config.context + 1)
      }
      using window = tensor(ids, { shape: [batch, config.context] })
      using made = await cost(parameters, window)
      total += await made.item()
    }
    return { perplexity: Math.exp(total / (count * own)), tokens: count * own }
  }
  return { score, dispose: () => cost.dispose() }
}
