import type { Tensor } from "@thimble/core"
import type { Readings, Top } from "../loss/loss.ts"

/** What a step learns from; a tree of tensors, which the loop disposes. */
export interface Batch {
  /** What the models see: ids of tokens, i32 [batch, positions], or whatever else the network takes. */
  readonly inputs: Tensor
  /** The right classes, i32: [batch, positions] or [batch]; −100 where there is none. */
  readonly labels?: Tensor
  /** Which positions count (bool or 0/1); those with a label, or all, unless given. */
  readonly mask?: Tensor
  /** Which inputs are not padding (bool or 0/1), for encoders. */
  readonly padding?: Tensor
  /** A teacher's most probable classes, where they come with the data. */
  readonly top?: Top
  /** Which of all examples these are, i32 [batch]. */
  readonly numbers?: Tensor
  /** What the teacher makes of other examples [n, width]: {@link withNegatives}. */
  readonly negatives?: Tensor
  /** How a teacher of another vocabulary reads the same text. */
  readonly readings?: Readings
}

/** The run that a batch is for. */
export interface Now {
  /** The student as it is; valid until the batch is there. */
  readonly model: unknown
}

/** Batches by their number, 0, 1, 2, …: the same for the same number (and the same student), so that an interrupted run goes on where it was. */
export interface Data {
  batch(index: number, now?: Now): Batch | Promise<Batch>
  /** What tells it from other data: a hash of contents and protocol. Checkpoints and stored answers are tied to it. */
  id(): string | Promise<string>
  /** Positions of a sequence. */
  readonly length?: number
  /** Batches until everything was seen once, if there is such a number. */
  readonly batches?: number
  /** After how many batches they come again, in their order, if they do. */
  readonly period?: number
}
