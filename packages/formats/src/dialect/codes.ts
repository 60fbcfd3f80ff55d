// What matrices are stored in, whatever the dialect of the file: the canonical form that dialects are read to and written from.
import { showShape, type DType, type Part, type TypedArray } from "@thimble/core"
import type { Bits } from "../packing.ts"

/** Rows and columns of a matrix, row-major: [out, in]. */
export type MatrixShape = readonly [rows: number, columns: number]

/**
 * Integer codes with a scale per group of a row: ŵ = (q − z) · s, or q · s + m where there are `mins`. Codes and zero
 * points are unsigned; without zero points z is 2ᵇ⁻¹ everywhere (symmetric).
 */
export interface IntegerCodes<B extends Bits = Bits> {
  readonly kind: "integer"
  readonly bits: B
  readonly shape: MatrixShape
  /** [rows, columns]. */
  readonly codes: Uint8Array
  /** [rows, groups] in f16, bf16 or f32. */
  readonly scales: Part
  /** [rows, groups]. */
  readonly zeros?: Uint8Array
  /** [rows, groups], of the dtype of the scales. */
  readonly mins?: Part
  /** Neighbours along a row that share a scale, ⌈columns/group⌉ groups; Infinity for whole rows. */
  readonly group: number
  /** The group of each column, where groups are no neighbours (GPTQ's act-order). */
  readonly groupOf?: Int32Array
}

/** Largest magnitudes that are rounded to 8 bits themselves: map[code] · absmax[run] + offset, runs of `size`. */
export interface NestedAbsmax { readonly codes: Uint8Array; readonly map: Float32Array; readonly absmax: Float32Array; readonly offset: number; readonly size: number }
/** Codebooks of bitsandbytes. */
export type BookName = "nf4" | "fp4"
/** Codes of a codebook times the largest magnitude of a block; blocks run on from row to row. Two codes to a byte, the first in its high half. */
export interface BookCodes {
  readonly kind: "book"
  readonly book: BookName
  readonly shape: MatrixShape
  /** ⌈rows · columns / 2⌉ bytes. */
  readonly codes: Uint8Array
  /** Elements of a block; the last may be shorter. */
  readonly block: number
  readonly absmax: Float32Array | NestedAbsmax
}

/** Rows of int8, ŵ = q · (absmax / 127): LLM.int8(). */
export interface RowCodes { readonly kind: "rows"; readonly shape: MatrixShape; readonly codes: Int8Array; readonly absmax: Float32Array }

/** 8-bit floats (E4M3), ŵ = value · s. */
export interface FloatCodes {
  readonly kind: "float"
  readonly shape: MatrixShape
  readonly codes: Uint8Array
  /** [⌈rows/block[0]⌉, ⌈columns/block[1]⌉]. */
  readonly scales: Part
  /** Rows and columns that share a scale; Infinity for all. */
  readonly block: readonly [rows: number, columns: number]
}

/**
 * 4-bit floats (E2M1) with a small scale per group of a row: MXFP4, powers of two (E8M0) per 32; or NVFP4, E4M3 per 16, with a
 * number that divides all of them.
 */
export interface MicroCodes {
  readonly kind: "micro"
  readonly shape: MatrixShape
  /** [rows, columns], a byte each. */
  readonly codes: Uint8Array
  /** [rows, columns / group]. */
  readonly scales: Uint8Array
  /** What scales are divided by; there is one in NVFP4. */
  readonly divisor?: number
}
/** Neighbours that share a scale. */
export const microGroup = (divided: boolean): 16 | 32 => (divided ? 16 : 32)

/** Plain elements most of which are zero, all of them: f32, f16 or bf16. */
export interface SparseCodes {
  readonly kind: "sparse"
  readonly shape: MatrixShape
  /** [rows, columns]. */
  readonly values: Part
  /** At most two of each four neighbours are not zero. */
  readonly pairs: boolean
}

export type Codes = IntegerCodes | BookCodes | RowCodes | FloatCodes | MicroCodes | SparseCodes

/** What codes are, without the codes: enough to say which dialects hold them. */
export type Outline =
  | { readonly kind: "integer"; readonly shape: MatrixShape; readonly bits: Bits; readonly group: number; readonly scales: DType; readonly zeros: boolean; readonly mins: boolean; readonly ordered: boolean }
  | { readonly kind: "book"; readonly shape: MatrixShape; readonly book: BookName; readonly block: number; readonly nested: boolean }
  | { readonly kind: "rows"; readonly shape: MatrixShape }
  | { readonly kind: "float"; readonly shape: MatrixShape; readonly block: readonly [number, number]; readonly scales: DType }
  | { readonly kind: "micro"; readonly shape: MatrixShape; readonly divided: boolean }
  | { readonly kind: "sparse"; readonly shape: MatrixShape; readonly dtype: DType; readonly pairs: boolean }
export type IntegerOutline = Extract<Outline, { kind: "integer" }>
export type SparseOutline = Extract<Outline, { kind: "sparse" }>

export function outlineOf(c: Codes): Outline {
  const { kind, shape } = c
  if (kind === "integer") return { kind, shape, bits: c.bits, group: c.group, scales: c.scales.dtype, zeros: c.zeros !== undefined, mins: c.mins !== undefined, ordered: c.groupOf !== undefined }
  if (kind === "book") return { kind, shape, book: c.book, block: c.block, nested: !(c.absmax instanceof Float32Array) }
  if (kind === "micro") return { kind, shape, divided: c.divisor !== undefined }
  if (kind === "sparse") return { kind, shape, dtype: c.values.dtype, pairs: c.pairs }
  return kind === "rows" ? { kind, shape } : { kind, shape, block: c.block, scales: c.scales.dtype }
}

/** An outline in words, as errors say it. */
export function showOutline(o: Outline): string {
  const size = showShape(o.shape)
  if (o.kind === "integer") {
    const more = [o.group === Infinity ? "a scale per row" : `groups of ${o.group}`, `${o.scales} scales`, ...(o.zeros ? ["zero points"] : []), ...(o.mins ? ["minima"] : []), ...(o.ordered ? ["groups in another order"] : [])]
    return `${o.bits}-bit integers ${size} (${more.join(", ")})`
  }
  if (o.kind === "book") return `${o.book} ${size} (blocks of ${o.block}${o.nested ? ", nested" : ""})`
  if (o.kind === "micro") return `${o.divided ? "NVFP4" : "MXFP4"} ${size}`
  if (o.kind === "sparse") return `sparse ${o.dtype} ${size}${o.pairs ? " (two of each four)" : ""}`
  return o.kind === "rows" ? `int8 rows ${size}` : `8-bit floats ${size} (${o.scales} scales)`
}

/** Groups of a row. */
export const groupsOf = (columns: number, group: number): number => (group === Infinity ? 1 : Math.ceil(columns / group))
/** The groups of columns whose groups are neighbours. */
export const plainGroups = (columns: number, group: number): Int32Array => Int32Array.from({ length: columns }, (_, c) => (group === Infinity ? 0 : Math.floor(c / group)))

/** [rows, columns] → [columns, rows]. */
export function turned<T extends TypedArray>(data: T, rows: number, columns: number): T {
  const out = data.slice() as T
  for (let r = 0, i = 0; r < rows; r++) for (let c = 0; c < columns; c++, i++) out[c * rows + r] = data[i]!
  return out
}
export const turnedPart = ({ data, shape: [rows, columns], dtype }: Part): Part => ({ data: turned(data, rows!, columns!), shape: [columns!, rows!], dtype })
