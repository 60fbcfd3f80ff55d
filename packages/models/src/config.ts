import { gelu, geluTanh, relu, silu, type Tensor } from "@thimble/core"
import type { BlockShape } from "./shapes.ts"

/** Nonlinearities by their names in config.json. */
export const activations = {
  silu, swish: silu, relu, gelu, gelu_new: geluTanh, gelu_pytorch_tanh: geluTanh, gelu_fast: geluTanh,
} as const satisfies Record<string, (x: Tensor) => Tensor>
export type Activation = keyof typeof activations

/**
 * How the angles of rotary positions are stretched for longer contexts.
 * - `linear`: all of them, by `factor`.
 * - `llama3`: those of long wavelengths, by `factor`, with a ramp between (Llama 3.1).
 * - `yarn`: by how often a pair turns within the original context (Peng et al., 2023, arXiv:2309.00071).
 * - `longrope`: each by a factor of its own, `long` ones where more than `original` positions are asked for (Ding et al.,
 *   2024, arXiv:2402.13753).
 */
export type RopeScaling =
  | { readonly kind: "linear"; readonly factor: number }
  | { readonly kind: "llama3"; readonly factor: number; readonly low: number; readonly high: number; readonly original: number }
  | { readonly kind: "yarn"; readonly factor: number; readonly original: number; readonly fast: number; readonly slow: number; readonly magnitude: number }
  | { readonly kind: "longrope"; readonly short: readonly number[]; readonly long: readonly number[]; readonly original: number; readonly magnitude: number }

export interface RopeConfig {
  /** Pair i of n turns by base^(−i/n) per position. */
  readonly base: number
  /** How many features of a head turn, the first ones. */
  readonly features: number
  readonly scaling?: RopeScaling
}

/** What a matrix or norm of a model is for; architectures give them their names. */
export type Role = BlockRole | ModelRole
export type BlockRole =
  | "attentionNorm" | "query" | "key" | "value" | "qkv" | "queryNorm" | "keyNorm" | "output" | "attentionPostNorm"
  | "feedNorm" | "gate" | "up" | "gateUp" | "down" | "feedPostNorm"
export type ModelRole = "embedding" | "positions" | "segments" | "embeddingNorm" | "norm" | "headTransform" | "headNorm" | "head"

/** All that decides what a model computes, besides its weights; a plain value. */
export interface Config {
  /** Which row of the table of architectures it is: `model_type` of config.json. */
  readonly architecture: string
  /** Rows of the embedding. */
  readonly vocabulary: number
  /** Features of the residual stream. */
  readonly width: number
  readonly layers: number
  readonly heads: number
  /** Heads of keys and values, each shared by heads/kvHeads heads of queries. */
  readonly kvHeads: number
  readonly headSize: number
  /** Features between the two halves of a feed-forward part. */
  readonly hidden: number
  /** One for each block, where they differ; `heads`, `kvHeads` and `hidden` are the first block's then. */
  readonly shapes?: readonly BlockShape[]
  /** Positions that the model was made for. */
  readonly context: number
  /** Added to the variance by norms. */
  readonly eps: number
  readonly activation: Activation
  /** Whether the embedding is the head, too. */
  readonly tied: boolean
  /** Matrices that come with a bias. */
  readonly biases: readonly Role[]
  /** Rotary positions; learned ones otherwise. */
  readonly rope?: RopeConfig
  /** For each layer how many tokens it looks back on, itself included; 0 is all of them. All for all layers unless given. */
  readonly windows?: readonly number[]
  /** Factor of the attention's scores; 1/√headSize unless given. */
  readonly scale?: number
  /** Scores of the attention, and logits, are held within ±cap by cap·tanh(x/cap). */
  readonly attentionCap?: number
  readonly logitCap?: number
  /** Whether a block's attention and feed-forward part read the same stream. */
  readonly parallel?: boolean
  /** Kinds of segments that an encoder tells apart. */
  readonly segments?: number
  /** No logits, only the stream of the last block: an encoder for other tasks. */
  readonly headless?: boolean
  /** Tokens that begin, end and fill texts. */
  readonly bos?: number
  readonly eos?: readonly number[]
  readonly pad?: number
}
