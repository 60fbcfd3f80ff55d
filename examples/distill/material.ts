import { evaluate, klDivergence, loadModel, type Model } from "@thimble/models"
import type { Tokenizer } from "@thimble/formats"
import { joined, ofSource, prose, tokens } from "../train/text.ts"

/** A model, text of its kind to train on, and text that it never saw. */
export interface Material {
  readonly model: Model
  readonly tokenizer: Tokenizer
  readonly text: Int32Array
  readonly begin: number
  readonly heldOut: string
  /** Perplexity, and KL divergence from the model with its standard error, on held-out text. */
  measure(other: Model): Promise<Score>
}
export interface Score { readonly perplexity: number; readonly divergence: number; readonly error: number }

/** The demo model, or another, with the texts that it learned from. `scored` tokens are measured on. */
export async function material(path: string, scored: number): Promise<Material> {
  const model = await loadModel(path), texts = await prose(), { tokenizer } = model
  if (tokenizer?.eos === undefined) throw new RangeError("the model has no tokenizer, or no token that ends texts")
  const heldOut = joined(ofSource(texts.heldOut, "Moby Dick"))
  return {
    model, tokenizer, heldOut, begin: tokenizer.eos, text: tokens(texts.training, tokenizer, tokenizer.eos),
    async measure(other) {
      const { results: [r] } = await evaluate(other, { reference: model, metrics: [klDivergence(heldOut, { context: 256, tokens: scored })] })
      return { perplexity: r.perplexity, divergence: r.value, error: r.standardError }
    },
  }
}
