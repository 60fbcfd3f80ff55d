import type { SparsityPattern, Within } from "../pattern.ts"
import { tiles } from "../tiles.ts"

export interface WithinOptions {
  /** Whether weights of a whole `matrix` compete (unless given) or those of each `row` by itself. */
  readonly within?: Within
}

/** Single weights, wherever they are: ⌊share·n⌋ of n go. */
export const unstructured = (share: number, { within = "matrix" }: WithinOptions = {}): SparsityPattern =>
  tiles({ name: "unstructured", json: { pattern: "unstructured" }, share, within, block: () => [1, 1] })
