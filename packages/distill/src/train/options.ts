import type { Optimizer, Schedule, Tensor } from "@thimble/core"
import type { Model } from "@thimble/models"
import type { Data } from "../data/data.ts"
import type { Loss } from "../loss/loss.ts"
import type { Network, Parameters } from "../network.ts"

/** Numbers that an evaluation gives, by name. */
export type Scores = Readonly<Record<string, number>>

export interface EvaluateEvery<M> {
  /** Steps between evaluations; the last step is evaluated, too. */
  readonly every: number
  /** Measures the model as it is; it is valid until the promise resolves. */
  run(model: Parameters<M>, step: number): Scores | Promise<Scores>
}

export interface Stopping {
  /** Which score of the evaluations decides. */
  readonly score: string
  /** Evaluations in a row without a better score after which training ends. */
  readonly patience: number
  /** By how much a score has to be better; 0 unless given. */
  readonly by?: number
  /** `lower` unless given. */
  readonly better?: "lower" | "higher"
}

export interface Checkpoints {
  /** Each checkpoint is a folder in this one. */
  readonly folder: string
  /** Steps between checkpoints; 500 unless given. One is written at the end, too, however it comes. */
  readonly every?: number
  /** How many are kept; 2 unless given. */
  readonly keep?: number
  /** Whether to go on from the latest, if there is one (`latest`, unless given), or refuse a folder that has some (`none`). */
  readonly resume?: "latest" | "none"
}

/** What ordinary training and distillation have in common. */
export interface TrainOptions<M extends Model | Network = Model | Network> {
  readonly loss: Loss
  readonly data: Data
  readonly optimizer: Optimizer<unknown>
  /** Steps to make in all, those before an interruption included. */
  readonly steps: number
  /** Learning rate of each step, 0, 1, 2, …; the optimizer's own unless given. */
  readonly rate?: Schedule
  /** Largest norm of all gradients together. */
  readonly clip?: number
  /** Batches of the data that make up a step; 1 unless given. Memory is that of one. */
  readonly accumulate?: number
  /** Which float tensors learn, by dotted name; all unless given. */
  readonly trains?: (path: string, tensor: Tensor) => boolean
  /** Decides the first values of what the loss learns; 0 unless given. */
  readonly seed?: number
  readonly evaluate?: EvaluateEvery<M>
  /** Ends training when evaluations get no better, and returns the best model. */
  readonly stop?: Stopping
  readonly checkpoints?: Checkpoints
  /** Ends training after the current step, with a checkpoint. */
  readonly signal?: AbortSignal
}

/** What a step did. */
export interface Step {
  /** Steps made so far, of how many. */
  readonly step: number
  readonly steps: number
  /** Before the step; the mean over the positions that count. */
  readonly loss: number
  /** Terms of the loss, before their weights. */
  readonly parts: Readonly<Record<string, number>>
  readonly rate: number | undefined
  /** Norm of the gradients, before it was clipped. */
  readonly norm: number
  /** Elements of labels, or examples, seen in this step. */
  readonly tokens: number
  /** Of this step, what it waited for included, and since this run began. */
  readonly seconds: number
  readonly elapsed: number
  /** Estimate of what is left to do, in seconds. */
  readonly remaining: number
  readonly scores?: Scores
  /** The checkpoint that was written. */
  readonly saved?: string
  /** In f16: gradients overflowed, so that nothing was changed and the next step scales the loss by less. */
  readonly skipped?: boolean
}

/** Losses of all steps, and scores, for {@link lossCurve}. */
export interface History {
  readonly losses: readonly number[]
  readonly scores: readonly { readonly step: number; readonly scores: Scores }[]
}

/** How training ended. */
export interface Trained<M> {
  /** The model, of tensors of its own but for those that did not learn. What learned is f32, whatever it was stored in before. */
  readonly model: M
  readonly steps: number
  /** `left`: whoever read the steps ended; `failed`: an error was thrown there, and the model is that of the last good step. */
  readonly stopped: "done" | "early" | "aborted" | "left" | "failed"
  readonly history: History
  /** Where the deciding score was best, where training could end early. */
  readonly best?: { readonly step: number; readonly score: number }
  /** What the loss learned: projections. */
  readonly loss: Readonly<Record<string, Tensor>>
}

/** Training under way: steps as they are made. */
export interface Run<M> extends AsyncGenerator<Step, void, undefined> {
  /** Makes the steps that are left, and tells how it ended. After leaving the loop early, or an error: how far it came. */
  finish(): Promise<Trained<M>>
}
