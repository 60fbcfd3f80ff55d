import type { Config, Json, Model } from "@thimble/models"
import type { MatrixShape } from "../quantizer.ts"
import type { Fallback } from "../quantize/fallback.ts"
import type { Calibration } from "./calibration.ts"
import type { Checkpoint } from "./checkpoint.ts"

/** What a plan knows of a model: sizes, and nothing of its values. */
export interface Outline {
  readonly config: Config
  /** Matrices by the names of their modules. */
  readonly matrices: ReadonlyMap<string, OutlinedMatrix>
  /** Bytes of norms and biases. */
  readonly vectorBytes: number
}
export interface OutlinedMatrix {
  readonly shape: MatrixShape
  readonly bytes: number
  /** What it is stored in. */
  readonly format: string
  /** Number of the block that it is in; undefined outside of blocks. */
  readonly layer?: number
  /** Rows of it are looked up, and nothing is multiplied with it. */
  readonly lookedUp?: boolean
}

/** What will be done with a matrix, and why. */
export interface PlanEntry {
  readonly path: string
  readonly shape: MatrixShape
  readonly method: string
  readonly from: string
  readonly to: string
  readonly bytesBefore: number
  readonly bytesAfter: number
  readonly why: string
}

/** A step of a recipe: an immutable value that can be written down. */
export interface Stage {
  readonly kind: string
  toJSON(): Json
  /** Refuses what cannot be done with such a model, all of it at once. */
  plan(outline: Outline): PlannedStage
}
export interface PlannedStage {
  readonly kind: string
  readonly entries: readonly PlanEntry[]
  /** Whether calibration data is needed, and what for. */
  readonly needs?: string
  /** The model as it will be. */
  readonly after: Outline
  /** It reads matrices that are still in their file by itself; all are in memory otherwise. */
  readonly lazily?: true
  /** Does it: yields what happened, and gives the new model. */
  run(model: Model, context: RunContext): AsyncGenerator<JobEvent, Model>
}

export interface RunContext {
  readonly data?: Calibration
  readonly signal?: AbortSignal
  readonly checkpoint?: Checkpoint
}

/** What a job tells while it runs. */
export type JobEvent =
  /** A part of the model was calibrated with so many of all batches. */
  | { readonly kind: "calibrated"; readonly stage: number; readonly part: string; readonly done: number; readonly total: number }
  | { readonly kind: "matrix"; readonly stage: number; readonly done: number; readonly total: number; readonly entry: ReportEntry; readonly resumed: boolean }
  | { readonly kind: "stage"; readonly stage: number; readonly name: string; readonly done: number; readonly total: number }

/** What was done with a matrix. */
export interface ReportEntry extends PlanEntry {
  /** ‖W − Ŵ‖² / ‖W‖². */
  readonly weightError: number
  /** The same of the outputs, ‖X(W − Ŵ)ᵀ‖² / ‖XWᵀ‖², over the calibration data; where that was seen. */
  readonly outputError?: number
  /** The share of weights that are zero, where some were left out. */
  readonly zeros?: number
  /** Calibration tokens that it has seen. */
  readonly tokens: number
  readonly fallbacks: readonly Fallback[]
  readonly seconds: number
}
