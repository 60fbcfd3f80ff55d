import { evaluate, klDivergence, loadModel, type Model } from "@thimble/models"
import type { Tokenizer } from "@thimble/formats"
import { mean } from "../figures.ts"
import { joined, ofSource, prose, sources, tokens, type Document } from "../train/text.ts"

/** A model, text of its kind to train on, and text that it never saw. */
export interface Material {
  readonly model: Model
  readonly tokenizer: Tokenizer
  readonly text: Int32Array
  readonly begin: number
  /** What is scored of the text that nothing was trained on: as much of each source. */
  readonly heldOut: readonly string[]
  /** Perplexity, and KL divergence from the model with its standard error, on what is scored; or on other held-out documents, by which settings are chosen. */
  measure(other: Model, on?: "scored" | "validation"): Promise<Score>
}
export interface Score { readonly perplexity: number; readonly divergence: number; readonly error: number }

/** The demo model, or another, with the texts that it learned from. `scored` tokens are measured on, the same number of each source. */
export async function material(path: string, scored: number): Promise<Material> {
  const model = await loadModel(path), texts = await prose(), { tokenizer } = model
  if (tokenizer?.eos === undefined) throw new RangeError("the model has no tokenizer, or no token that ends texts")
  /** Every second held-out document of each source, from `first` on. */
  const half = (first: 0 | 1): string[] => sources.map(({ title }) => joined(ofSource(texts.heldOut, title).filter((_: Document, i: number) => i % 2 === first)))
  const parts = { scored: half(0), validation: half(1) }
  return {
    model, tokenizer, heldOut: parts.scored, begin: tokenizer.eos, text: tokens(texts.training, tokenizer, tokenizer.eos),
    async measure(other, on = "scored") {
      const { results } = await evaluate(other, { reference: model, metrics: parts[on].map((text) => klDivergence(text, { context: 256, tokens: Math.ceil(scored / parts[on].length) })) })
      return {
        perplexity: Math.exp(mean(results.map((r) => Math.log(r.perplexity)))), divergence: mean(results.map((r) => r.value)),
        error: Math.hypot(...results.map((r) => r.standardError)) / results.length,
      }
    },
  }
}
