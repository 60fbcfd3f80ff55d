import type { SparsityPattern } from "../pattern.ts"
import { tiles } from "../tiles.ts"

/** Whole columns: inputs that are not looked at. */
export const columns = (share: number): SparsityPattern => tiles({ name: "columns", json: { pattern: "columns" }, share, within: "matrix", block: ([rows]) => [rows, 1] })
