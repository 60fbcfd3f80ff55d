import type { Tokenizer } from "@thimble/formats"
import type { Model } from "@thimble/models"
import type { Batch } from "../data/data.ts"
import type { Dimensions, Quantity, Seen } from "../loss/loss.ts"
import type { Ask, Network } from "../network.ts"

/** A teacher outside of the step's program: its answers were stored, come from elsewhere, or are computed on another device. */
export interface Answers {
  readonly offers: readonly Quantity[]
  readonly dimensions: Dimensions
  readonly tokenizer?: Tokenizer
  /** What it says of a batch, the `index`-th of the data; tensors of the current device, which the loop disposes. */
  answer(batch: Batch, ask: Ask, index: number): Promise<Seen>
  /** Refuses what does not fit before the first step. */
  prepare?(run: { readonly data: string; readonly ask: Ask }): Promise<void>
}

/** The student's own parameters, averaged over the steps so far. */
export interface Follower {
  /** Share of the average that each step keeps. */
  readonly decay: number
}

/** Whoever teaches: a model, a network, answers from outside, or the student's own past. */
export type Teacher = Model | Network | Answers | Follower
