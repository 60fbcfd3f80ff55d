import { fail } from "@thimble/core"
import type { Json, Stores } from "@thimble/models"
import type { MatrixShape } from "../quantizer.ts"
import type { Method } from "./method.ts"

/** A matrix as a rule sees it. */
export interface Candidate {
  readonly path: string
  readonly shape: MatrixShape
  /** Number of the block that it is in; undefined outside of blocks. */
  readonly layer?: number
}
/**
 * Which matrices: those of a name, whole or its last parts (`lm_head`, `mlp.down_proj`), those that an expression finds,
 * or that a function says yes to. What a function says cannot be written down.
 */
export type Pattern = string | RegExp | ((matrix: Candidate) => boolean)

/** What is done with some matrices. */
export interface Rule {
  readonly pattern: Pattern
  readonly method: Method
}

/** The matrices of a pattern are treated with a method. The first rule that finds a matrix is the one that holds. */
export const on = <K extends string = string>(pattern: Pattern, method: Method & Stores<K>): Rule & Stores<K> => ({ pattern, method })

export const finds = (pattern: Pattern, matrix: Candidate): boolean =>
  typeof pattern === "function" ? pattern(matrix) : typeof pattern === "string" ? matrix.path === pattern || matrix.path.endsWith(`.${pattern}`) : new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, "")).test(matrix.path)

export const showPattern = (pattern: Pattern): string => (typeof pattern === "function" ? "a function" : typeof pattern === "string" ? pattern : String(pattern))

export function patternToJson(pattern: Pattern): Json[string] {
  if (typeof pattern === "function") return fail("value", "recipe", "a rule whose pattern is a function cannot be written down", "use a name or an expression")
  return typeof pattern === "string" ? pattern : { expression: pattern.source, flags: pattern.flags }
}
