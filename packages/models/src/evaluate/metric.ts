import type { Tensor } from "@thimble/core"
import type { Tokenizer } from "@thimble/formats"

/** What can be evaluated: any language model that gives a row of logits for every position. */
export interface Evaluated {
  readonly config: { readonly vocabulary: number; readonly context: number }
  readonly tokenizer?: Tokenizer
  /** Stored size of its tensors. */
  readonly bytes: number
  /** Logits [batch, positions, vocabulary] of the tokens that follow ids [batch, positions], i32. */
  forward(ids: Tensor): Tensor
}

/** What a metric gets to work with. */
export interface Run {
  readonly model: Evaluated
  readonly reference?: Evaluated
  readonly signal?: AbortSignal
  /** Tells how many positions have been computed, of how many. */
  progress(done: number, total: number): void
}
/** One thing to measure; made by `perplexity`, `klDivergence`, `multipleChoice`, or by the user. */
export interface Metric<R = unknown> {
  readonly name: string
  measure(run: Run): Promise<R>
}

/**
 * What all results have: a value, the protocol it was measured by, and the parts it is the mean of, for comparisons.
 * Plain data, so it can be stored as JSON.
 */
export interface Measured<P extends object = object> {
  readonly metric: string
  readonly protocol: P
  /** The mean of the parts. */
  readonly value: number
  readonly standardError: number
  /** Sums and counts of what belongs together: a window of text, an item. */
  readonly parts: readonly Part[]
}
export interface Part { readonly sum: number; readonly count: number }
