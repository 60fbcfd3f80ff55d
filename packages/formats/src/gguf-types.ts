import { fail, type DType, type Format } from "@thimble/core"
import type { BlockFormat } from "./ggml/block.ts"
import { ggml } from "./ggml/index.ts"

/** Element types of GGUF files. */
export type GgufDType =
  | "F32" | "F16" | "Q4_0" | "Q4_1" | "Q5_0" | "Q5_1" | "Q8_0" | "Q8_1" | "Q2_K" | "Q3_K" | "Q4_K" | "Q5_K" | "Q6_K"
  | "Q8_K" | "IQ2_XXS" | "IQ2_XS" | "IQ3_XXS" | "IQ1_S" | "IQ4_NL" | "IQ3_S" | "IQ2_S" | "IQ4_XS" | "I8" | "I16"
  | "I32" | "I64" | "F64" | "IQ1_M" | "BF16" | "TQ1_0" | "TQ2_0" | "MXFP4" | "NVFP4" | "Q1_0" | "Q2_0"

/** Geometry of a type. */
export interface GgufTypeRow {
  /** Its number in files. */
  readonly id: number
  /** Elements and bytes of a block. */
  readonly size: number
  readonly bytes: number
  /** The tensor dtype that holds the elements as they are. */
  readonly dtype?: DType
}

/** The element types of GGUF files (ggml.h, gguf constants). Numbers that are missing are of types that are no more. */
export const ggufTypes: Readonly<Record<GgufDType, GgufTypeRow>> = {
  F32: { id: 0, size: 1, bytes: 4, dtype: "f32" },
  F16: { id: 1, size: 1, bytes: 2, dtype: "f16" },
  Q4_0: { id: 2, size: 32, bytes: 18 },
  Q4_1: { id: 3, size: 32, bytes: 20 },
  Q5_0: { id: 6, size: 32, bytes: 22 },
  Q5_1: { id: 7, size: 32, bytes: 24 },
  Q8_0: { id: 8, size: 32, bytes: 34 },
  Q8_1: { id: 9, size: 32, bytes: 36 },
  Q2_K: { id: 10, size: 256, bytes: 84 },
  Q3_K: { id: 11, size: 256, bytes: 110 },
  Q4_K: { id: 12, size: 256, bytes: 144 },
  Q5_K: { id: 13, size: 256, bytes: 176 },
  Q6_K: { id: 14, size: 256, bytes: 210 },
  Q8_K: { id: 15, size: 256, bytes: 292 },
  IQ2_XXS: { id: 16, size: 256, bytes: 66 },
  IQ2_XS: { id: 17, size: 256, bytes: 74 },
  IQ3_XXS: { id: 18, size: 256, bytes: 98 },
  IQ1_S: { id: 19, size: 256, bytes: 50 },
  IQ4_NL: { id: 20, size: 32, bytes: 18 },
  IQ3_S: { id: 21, size: 256, bytes: 110 },
  IQ2_S: { id: 22, size: 256, bytes: 82 },
  IQ4_XS: { id: 23, size: 256, bytes: 136 },
  I8: { id: 24, size: 1, bytes: 1, dtype: "i8" },
  I16: { id: 25, size: 1, bytes: 2, dtype: "i16" },
  I32: { id: 26, size: 1, bytes: 4, dtype: "i32" },
  I64: { id: 27, size: 1, bytes: 8 },
  F64: { id: 28, size: 1, bytes: 8, dtype: "f64" },
  IQ1_M: { id: 29, size: 256, bytes: 56 },
  BF16: { id: 30, size: 1, bytes: 2, dtype: "bf16" },
  TQ1_0: { id: 34, size: 256, bytes: 54 },
  TQ2_0: { id: 35, size: 256, bytes: 66 },
  MXFP4: { id: 39, size: 32, bytes: 17 },
  NVFP4: { id: 40, size: 64, bytes: 36 },
  Q1_0: { id: 41, size: 128, bytes: 18 },
  Q2_0: { id: 42, size: 64, bytes: 18 },
}

/** The formats of types that weights are stored in; integers, f64 and the types of activations have none. */
const formats: Readonly<Partial<Record<GgufDType, BlockFormat>>> = ggml
/** The format that tells a type's blocks apart, if weights are stored in it. */
export const ggufFormat = (type: GgufDType): BlockFormat | undefined => formats[type]

const byId = new Map(Object.entries(ggufTypes).map(([name, { id }]) => [id, name as GgufDType]))
export const ggufTypeOf = (id: number): GgufDType | undefined => byId.get(id)
const byDType = new Map(Object.entries(ggufTypes).map(([name, { dtype }]) => [dtype, name as GgufDType]))
// What says more about a type than is said here is still its format: it has its name, and decodes as it does.
const byCode = new Map<Format["code"], GgufDType>(Object.entries(formats).map(([name, format]) => [format.code, name as GgufDType]))
/** The file's type for what a tensor (by its dtype) or a weight is stored in. */
export function ggufTypeFor(storage: DType | Format): GgufDType {
  if (typeof storage === "string") return byDType.get(storage) ?? fail("dtype", "gguf", `no type of GGUF files holds ${storage}`)
  const type = byCode.get(storage.code)
  return (type !== undefined && formats[type]!.name === storage.name ? type : undefined) ?? fail("value", "gguf", `no type of GGUF files is the format ${storage.name}`, "quantize to one of ggml's")
}

/** Bytes of a tensor [..., rows, columns]; undefined if its rows are no whole blocks, or none that can be counted. */
export function ggufBytes(type: GgufDType, shape: readonly number[]): number | undefined {
  const { size, bytes } = ggufTypes[type]
  const columns = shape.at(-1) ?? 1
  const n = shape.includes(0) ? 0 : shape.slice(0, -1).reduce((m, k) => m * k, (columns / size) * bytes)
  return columns % size === 0 && Number.isSafeInteger(n) ? n : undefined
}
