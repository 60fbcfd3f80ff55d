import { argmax, castTo, crossEntropy, eq, exp, fail, logSoftmax, sum, type Tensor } from "@thimble/core"
import { inBatches } from "./batches.ts"
import { hashOfTokenizer } from "./hash.ts"
import type { Evaluated, Measured, Metric, Part } from "./metric.ts"
import { prepare, type Text, type TextOptions, type TextProtocol } from "./protocol.ts"
import { meanOf, spreadOf, type Spread } from "./statistics.ts"

/** `reference` is the reference's own loss on the text, to 4 decimals: results against other models are not alike. */
export interface DivergenceProtocol extends TextProtocol { readonly reference: number }

/** `value` is the mean of Σ p·log(p/q), in nats per token, for probabilities p of the reference and q of the model. */
export interface Divergence extends Measured<DivergenceProtocol> {
  readonly metric: "klDivergence"
  readonly spread: Spread
  /** Share of tokens for which both have the same most probable one. */
  readonly topAgreement: number
  readonly topAgreementError: number
  /** How the probability of the token that came changes, q − p. */
  readonly probabilityChange: { readonly mean: number; readonly standardError: number; readonly rootMeanSquare: number; readonly spread: Spread }
  /** Perplexities of both on what was scored, and the mean of the differences of their losses, with its standard error (paired). */
  readonly perplexity: number
  readonly referencePerplexity: number
  readonly lossChange: { readonly mean: number; readonly standardError: number }
}

/** How far a model's predictions are from a reference's, on every token of a text. The numbers are those of llama.cpp's `--kl-divergence`. */
export function klDivergence(text: Text, options: TextOptions = {}): Metric<Divergence> {
  return {
    name: "klDivergence",
    async measure(run) {
      const { model } = run
      const reference = run.reference ?? fail("value", "klDivergence", "needs a model to compare with", "evaluate(model, { reference, … })")
      await checkVocabularies(model, reference)
      const { protocol, windows } = await prepare("klDivergence", text, options, model)
      if (protocol.context > reference.config.context) fail("value", "klDivergence", `the context of ${protocol.context} positions is longer than the reference's, ${reference.config.context}`)
      const parts: Part[] = [], n = protocol.scored
      const divergences = new Float64Array(n), change = new Float64Array(n), same = new Float64Array(n), lossChange = new Float64Array(n), losses = new Float64Array(n), referenceLosses = new Float64Array(n)
      let at = 0
      await inBatches(run, windows, (ids, targets) => compared(model.forward(ids), reference.forward(ids), targets), (row, { kl, loss, referenceLoss, top }) => {
        const { targets, scored } = windows[row]!
        let total = 0
        for (let i = 0; i < targets.length; i++) {
          if (targets[i]! < 0) continue
          divergences[at] = kl[i]!
          total += kl[i]!
          same[at] = top[i]!
          losses[at] = loss[i]!
          referenceLosses[at] = referenceLoss[i]!
          lossChange[at] = loss[i]! - referenceLoss[i]!
          change[at++] = Math.exp(-loss[i]!) - Math.exp(-referenceLoss[i]!)
        }
        parts.push({ sum: total, count: scored })
      })
      const divergence = meanOf(divergences), agreement = meanOf(same), referenceLoss = meanOf(referenceLosses).mean
      return {
        metric: "klDivergence", protocol: { ...protocol, reference: Math.round(referenceLoss * 1e4) / 1e4 },
        value: divergence.mean, standardError: divergence.standardError, spread: spreadOf(divergences),
        topAgreement: agreement.mean, topAgreementError: agreement.standardError,
        probabilityChange: { ...meanOf(change), rootMeanSquare: Math.sqrt(meanOf(change.map((d) => d * d)).mean), spread: spreadOf(change) },
        perplexity: Math.exp(meanOf(losses).mean), referencePerplexity: Math.exp(referenceLoss), lossChange: meanOf(lossChange), parts,
      }
    },
  }
}

/** Numbers of every position from logits [batch, positions, vocabulary] of both. */
function compared(logits: Tensor, reference: Tensor, targets: Tensor): Record<"kl" | "loss" | "referenceLoss" | "top", Tensor> {
  const p = logSoftmax(reference), q = logSoftmax(logits)
  const each = { reduction: "none", ignoreIndex: -1 } as const
  return {
    kl: sum(exp(p).mul(p.sub(q)), { axis: -1 }),
    loss: crossEntropy(logits, targets, each),
    referenceLoss: crossEntropy(reference, targets, each),
    top: castTo(eq(argmax(logits, { axis: -1 }), argmax(reference, { axis: -1 })), "f32"),
  }
}

async function checkVocabularies(model: Evaluated, reference: Evaluated): Promise<void> {
  const { vocabulary } = model.config
  if (vocabulary !== reference.config.vocabulary) fail("value", "klDivergence", `the model knows ${vocabulary} tokens, the reference ${reference.config.vocabulary}`, "predictions of different vocabularies cannot be compared")
  if (model.tokenizer && reference.tokenizer && (await hashOfTokenizer(model.tokenizer)) !== (await hashOfTokenizer(reference.tokenizer)))
    fail("value", "klDivergence", "the tokenizers of model and reference differ", "predictions of different vocabularies cannot be compared")
}
