import type { Format, Part, Tensor, Weight } from "@thimble/core"
import { bookFormat } from "./book-format.ts"
import type { Codes, MatrixShape, Outline } from "./codes.ts"
import { floatFormat } from "./float-format.ts"
import { integerFormat } from "./integer-format.ts"
import { microFormat } from "./micro-format.ts"
import { rowFormat } from "./row-format.ts"
import { sparseFormat } from "./sparse-format.ts"

/** A format that tells the codes of a matrix as checkpoints have them. Others are asked by their expressions. */
export interface CodedFormat extends Format {
  /** What a matrix of this shape is stored in; undefined where its groups do not lie as in checkpoints. */
  outline(shape: MatrixShape): Outline | undefined
  codes(parts: Readonly<Record<string, Part>>, shape: MatrixShape): Codes
}
export const isCoded = (format: Format): format is CodedFormat => "outline" in format && "codes" in format

/** A weight that stores a matrix with its columns in another order: `stored` has column order[i] at place i. */
export interface PermutedWeight extends Weight { readonly permuted: { readonly stored: Weight; readonly order: Tensor } }
export const isPermuted = (weight: Weight): weight is PermutedWeight => "permuted" in weight

/** Codes as a weight stores them, packed. */
export interface StoredCodes { readonly format: CodedFormat; readonly parts: Readonly<Record<string, Part>> }

/** The format and the parts of a weight that has these codes. */
export function storeCodes(codes: Codes): StoredCodes {
  switch (codes.kind) {
    case "integer": return integerFormat(codes)
    case "book": return bookFormat(codes)
    case "rows": return rowFormat(codes)
    case "float": return floatFormat(codes)
    case "micro": return microFormat(codes)
    case "sparse": return sparseFormat(codes)
  }
}
