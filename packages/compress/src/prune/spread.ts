import type { Json } from "@thimble/models"
import type { MatrixShape } from "../quantizer.ts"
import type { Matrix, Statistics } from "../recipe/method.ts"
import type { Statistic } from "../recipe/statistic.ts"

/** A matrix as a spread sees it. */
export interface Spreadable<M = unknown> {
  readonly path: string
  readonly shape: MatrixShape
  /** Number of the block that it is in. */
  readonly layer?: number
  readonly measured: M
}

/** How a share is divided among the matrices of a model. */
export interface ShareSpread<M = unknown> {
  readonly name: string
  toJSON(): Json
  readonly observes?: readonly Statistic[]
  /** What is to be known of a matrix, whose tiles have these scores. */
  measure(matrix: Matrix, tiles: Float64Array, statistics: Statistics | undefined): Promise<M> | M
  /** The share that goes of each matrix, in their order. */
  shares(matrices: readonly Spreadable<M>[], share: number): readonly number[]
}
