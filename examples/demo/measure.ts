import { quantizeWeight, scope, type Weight } from "@thimble/core"
import { evaluate, klDivergence, type DivergenceProtocol, type Model, type Prompt, type Text, type TextOptions } from "@thimble/models"
import type { Scheme } from "./schemes.ts"

/** What a model is scored on, and asked to go on with. */
export interface Trial {
  readonly text: Text
  readonly protocol: TextOptions
  readonly prompt: Prompt
  /** Tokens to write. */
  readonly count: number
}
/** One model of the table. */
export interface Row {
  readonly name: string
  readonly bytes: number
  /** Stored bits per parameter, scales and norms included. */
  readonly bits: number
  /** exp of the mean cross-entropy, per token. */
  readonly perplexity: number
  /** Mean Kullback–Leibler divergence of the predictions from the original's, in nats per token. */
  readonly divergence: number
  /** Share of tokens where both have the same favourite. */
  readonly agreement: number
  readonly protocol: DivergenceProtocol
  readonly tokensPerSecond: number
  /** The most probable continuation of the prompt. */
  readonly ids: readonly number[]
}

/** Measures a model: how well it predicts, how far it is from the original, and how fast it writes. */
export async function measure(name: string, model: Model, original: Model, { text, protocol, prompt, count }: Trial, signal?: AbortSignal): Promise<Row> {
  const { results: [result] } = await evaluate(model, { reference: original, metrics: [klDivergence(text, protocol)], ...(signal && { signal }) })
  const write = async (): Promise<{ ids: number[]; tokensPerSecond: number }> => {
    const ids: number[] = [], times: number[] = []
    let before = performance.now()
    for await (const { id } of model.generate(prompt, { maxTokens: count, ...(signal && { signal }) }).tokens()) {
      const now = performance.now()
      ids.push(id)
      times.push(now - before)
      before = now
    }
    // The first token comes with the reading of the prompt. A median, because other programs get in the way.
    const each = times.slice(1).sort((a, b) => a - b)
    return { ids, tokensPerSecond: 1000 / (each[each.length >> 1] ?? NaN) }
  }
  // The first time is that of compilers: only the second is timed.
  await write()
  return {
    name, bytes: model.bytes, bits: (8 * model.bytes) / model.size,
    perplexity: result.perplexity, divergence: result.value, agreement: result.topAgreement, protocol: result.protocol, ...(await write()),
  }
}

/** Rounds every weight to the nearest value of its format; norms stay. Products round their input to 8 bits, too, as in llama.cpp. */
export async function compress(model: Model, { format }: Scheme): Promise<Model> {
  const weights: Record<string, Weight> = {}
  for (const [module, w] of Object.entries(model.weights)) {
    const values = await scope(() => w.dense().data())
    weights[module] = quantizeWeight(format(module, model), values as Float32Array, w.shape, { activations: "int8" })
  }
  return model.with(weights)
}
