import type { Json } from "@thimble/models"
import type { Gradients } from "../recipe/gradients.ts"
import type { Matrix, Statistics } from "../recipe/method.ts"
import type { Statistic } from "../recipe/statistic.ts"

/** What weights are ranked by: those with the least scores go. What goes together has the sum of its scores. */
export interface Score {
  readonly name: string
  toJSON(): Json
  /** What it asks of calibration. */
  readonly observes?: readonly Statistic[]
  /** Whether it asks for gradients of the model's loss over the calibration data (`loss`). */
  readonly gradients?: "loss"
  /** Scores [rows, columns]. */
  of(matrix: Matrix, statistics: Statistics | undefined, gradients: Gradients | undefined): Promise<Float64Array> | Float64Array
}
