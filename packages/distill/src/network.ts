import type { DType, Tensor } from "@thimble/core"
import type { Tokenizer } from "@thimble/formats"
import type { Model } from "@thimble/models"
import { languageModel } from "./language-model.ts"
import { rowsOf } from "./loss/divergence.ts"
import type { Dimensions, Quantity, Seen } from "./loss/loss.ts"
import { topOf } from "./loss/restrict.ts"

/** What is asked of a model about a batch. */
export interface Ask {
  readonly wanted: readonly Quantity[]
  /** How many of the most probable classes, where `top` is wanted. */
  readonly top?: number
  /** Which inputs are not padding (bool or 0/1) [batch, positions]: of encoders. */
  readonly padding?: Tensor
}

/** What learns or teaches: parameters, and a pure function of them and of inputs that shows what losses ask for. */
export interface Network<P = unknown> {
  /** A tree of tensors. */
  readonly parameters: P
  readonly dimensions: Dimensions
  /** What it can show. */
  readonly offers: readonly Quantity[]
  readonly tokenizer?: Tokenizer
  /** What it computes in; losses are scaled for `f16`, whose gradients underflow. */
  readonly precision?: DType
  see(parameters: P, inputs: Tensor, ask: Ask): Seen
}

export interface NetworkOptions<P> {
  readonly parameters: P
  /** Logits [batch, …, classes] of inputs, or more of what losses may ask for. */
  readonly forward: (parameters: P, inputs: Tensor) => Tensor | Seen
  /** What `forward` shows; logits unless given. */
  readonly offers?: readonly Quantity[]
  readonly dimensions?: Dimensions
}

/** A network of any kind: a tree of tensors, and a function. */
export function network<P>({ parameters, forward, offers = ["logits"], dimensions = {} }: NetworkOptions<P>): Network<P> {
  return {
    parameters, dimensions, offers: offers.includes("logits") ? [...new Set<Quantity>([...offers, "top"])] : offers,
    see(p, inputs, ask) {
      const shown = forward(p, inputs)
      return withTop("logits" in shown || !("dtype" in shown) ? shown as Seen : { logits: shown as Tensor }, ask)
    },
  }
}

/** Adds the most probable classes where they are wanted. */
export function withTop(seen: Seen, { wanted, top }: Ask): Seen {
  if (!wanted.includes("top") || seen.top !== undefined || seen.logits === undefined) return seen
  const { indices, logProbabilities } = topOf(rowsOf(seen.logits), top ?? 1), shape = seen.logits.shape.with(-1, top ?? 1)
  return { ...seen, top: { indices: indices.reshape(shape), logProbabilities: logProbabilities.reshape(shape) } }
}

/** What is trained, as it was given, and as a network. */
export type Parameters<M> = M extends Network<infer P> ? P : M
/** A language model as a network; a network is one. */
export const asNetwork = (x: Model | Network): Network => ("see" in x ? x : (languageModel(x) as Network))
