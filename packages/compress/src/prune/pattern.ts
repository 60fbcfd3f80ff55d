import type { Json } from "@thimble/models"
import type { BlockShape } from "@thimble/formats"
import type { MatrixShape } from "../quantizer.ts"
import type { KeepOf } from "./sparsity.ts"

/** Among whom the least go: all of the matrix, or each row by itself. */
export type Within = "matrix" | "row"

/** Which weights of a matrix may go, and how many do. */
export interface SparsityPattern {
  readonly name: string
  toJSON(): Json
  /** The share that goes, where it is one. */
  readonly share?: number
  /** The same with another share. */
  with?(share: number): SparsityPattern
  /** Among whom the least go, where a share does: all of a matrix unless given. */
  readonly within?: Within
  /** How many of so many neighbours stay, where that is the pattern. */
  readonly neighbours?: KeepOf
  /** What goes or stays together in a matrix; single weights unless given. */
  block?(shape: MatrixShape): BlockShape
  /** Why a matrix of a shape has no such pattern. */
  unfit?(shape: MatrixShape): string | undefined
  /** Weights that stay, at most. */
  keeps(shape: MatrixShape): number
  /** Which weights stay, 1, by their scores [rows, columns]. Of equal scores the first goes. */
  kept(scores: Float64Array, shape: MatrixShape): Uint8Array
}
