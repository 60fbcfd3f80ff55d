import type { SparsityPattern } from "../pattern.ts"
import { tiles } from "../tiles.ts"

/** Whole rows: outputs that become zero. */
export const rows = (share: number): SparsityPattern => tiles({ name: "rows", json: { pattern: "rows" }, share, within: "matrix", block: ([, columns]) => [1, columns] })
