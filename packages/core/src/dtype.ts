import { fail } from "./errors.ts"

/** Element types of tensors. f16 and bf16 are stored in 16 bits and computed in f32. */
export type DType = "f32" | "f16" | "bf16" | "f64" | "i32" | "u32" | "i16" | "u16" | "i8" | "u8" | "bool"
/** The types scalar expressions compute in; every dtype computes in exactly one of them. */
export type Scalar = "f32" | "f64" | "i32" | "u32" | "bool"
export type TypedArray =
  | Float32Array | Float64Array | Int32Array | Uint32Array | Int16Array | Uint16Array | Int8Array | Uint8Array

type Kind = "float" | "int" | "uint" | "bool"
interface DTypeRow {
  readonly bytes: 1 | 2 | 4 | 8
  readonly kind: Kind
  readonly scalar: Scalar
  /** Rank in promotion: the result of two dtypes of a kind is the higher one. */
  readonly rank: number
  readonly array: new (buffer: ArrayBufferLike, byteOffset?: number, length?: number) => TypedArray
}

export const dtypes = {
  f64: { bytes: 8, kind: "float", scalar: "f64", rank: 4, array: Float64Array },
  f32: { bytes: 4, kind: "float", scalar: "f32", rank: 3, array: Float32Array },
  f16: { bytes: 2, kind: "float", scalar: "f32", rank: 2, array: Uint16Array },
  bf16: { bytes: 2, kind: "float", scalar: "f32", rank: 2, array: Uint16Array },
  i32: { bytes: 4, kind: "int", scalar: "i32", rank: 3, array: Int32Array },
  u32: { bytes: 4, kind: "uint", scalar: "u32", rank: 3, array: Uint32Array },
  i16: { bytes: 2, kind: "int", scalar: "i32", rank: 2, array: Int16Array },
  u16: { bytes: 2, kind: "uint", scalar: "u32", rank: 2, array: Uint16Array },
  i8: { bytes: 1, kind: "int", scalar: "i32", rank: 1, array: Int8Array },
  u8: { bytes: 1, kind: "uint", scalar: "u32", rank: 1, array: Uint8Array },
  bool: { bytes: 1, kind: "bool", scalar: "bool", rank: 0, array: Uint8Array },
} as const satisfies Record<DType, DTypeRow>

export const isFloat = (d: DType): boolean => dtypes[d].kind === "float"
export const isInteger = (d: DType): boolean => dtypes[d].kind === "int" || dtypes[d].kind === "uint"
export const scalarOf = (d: DType): Scalar => dtypes[d].scalar
export const bytesOf = (d: DType): number => dtypes[d].bytes

const kindOrder: Record<Kind, number> = { bool: 0, uint: 1, int: 1, float: 2 }

/**
 * The dtype of a result of two operands, as in torch: floats win over integers, integers over bool; among one kind the
 * wider wins; f16 with bf16 gives f32; a signed with an unsigned integer of the same width or wider gives the next
 * wider signed type (i32 at most).
 */
export function promote(a: DType, b: DType): DType {
  if (a === b) return a
  const x: DTypeRow = dtypes[a], y: DTypeRow = dtypes[b]
  if (kindOrder[x.kind] !== kindOrder[y.kind]) return kindOrder[x.kind] > kindOrder[y.kind] ? a : b
  if (x.kind === y.kind) {
    if (x.rank === y.rank) return "f32"
    return x.rank > y.rank ? a : b
  }
  const [signed, unsigned] = x.kind === "int" ? [a, b] : [b, a]
  if (dtypes[signed].bytes > dtypes[unsigned].bytes) return signed
  return dtypes[unsigned].bytes === 1 ? "i16" : "i32"
}

/** Smallest and largest value of an integer type. */
export function limitsOf(dtype: DType): readonly [low: number, high: number] {
  const bits = 8 * bytesOf(dtype)
  return dtypes[dtype].kind === "uint" ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]
}

export function checkDType(op: string, dtype: string): DType {
  return Object.hasOwn(dtypes, dtype) ? (dtype as DType) : fail("dtype", op, `unknown dtype '${String(dtype)}'`, `one of ${Object.keys(dtypes).join(", ")}`)
}

const word = new Uint32Array(1)
const float = new Float32Array(word.buffer)

/** f32 → f16 bits, round to nearest even; |x| ≥ 65520 becomes ±inf, subnormals are kept, NaN becomes sign|0x7E00. */
export function f16Bits(value: number): number {
  float[0] = value
  const bits = word[0]!
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00
  if (magnitude >= 0x477ff000) return sign | 0x7c00
  if (magnitude >= 0x38800000) return sign | ((magnitude + 0xc8000fff + ((magnitude >>> 13) & 1)) >>> 13 & 0x7fff)
  // Below 2^-14: adding 0.5 leaves the subnormal's units in the low bits, rounded to nearest even by the adder.
  word[0] = magnitude
  float[0] = float[0]! + 0.5
  return sign | (word[0]! - 0x3f000000)
}

/** f16 bits → f32, exact. */
export function f16Value(bits: number): number {
  const exponent = (bits >>> 10) & 31, mantissa = bits & 1023
  const sign = bits & 0x8000 ? -1 : 1
  if (exponent === 0) return sign * mantissa * 2 ** -24
  if (exponent === 31) return mantissa ? NaN : sign * Infinity
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15)
}

/** f32 → bf16 bits, round to nearest even; NaN stays quiet. */
export function bf16Bits(value: number): number {
  float[0] = value
  const bits = word[0]!
  if ((bits & 0x7fffffff) > 0x7f800000) return ((bits >>> 16) | 0x40) & 0xffff
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff
}

/** bf16 bits → f32, exact. */
export function bf16Value(bits: number): number {
  word[0] = bits << 16
  return float[0]!
}

/** Bits of an f32 as a signed 32-bit integer. */
export function f32Bits(value: number): number {
  float[0] = value
  return word[0]! | 0
}
/** The f32 whose bits are `bits`. */
export function f32FromBits(bits: number): number {
  word[0] = bits
  return float[0]!
}

/** A number as the dtype stores it in its typed array: bits for f16 and bf16, 0/1 for bool, wrapped for integers. */
export function encode(dtype: DType, value: number): number {
  if (dtype === "f16") return f16Bits(value)
  if (dtype === "bf16") return bf16Bits(value)
  if (dtype === "bool") return value ? 1 : 0
  return isInteger(dtype) ? toInteger(dtype, value) : value
}

/** The number that a stored element stands for. */
export function decode(dtype: DType, stored: number): number {
  if (dtype === "f16") return f16Value(stored)
  if (dtype === "bf16") return bf16Value(stored)
  return stored
}

/** float → integer: truncates toward zero, saturates at 32 bits (NaN → 0), then wraps to the narrower widths. */
export function toInteger(dtype: DType, value: number): number {
  const row = dtypes[dtype]
  if (row.kind === "uint") {
    const u = Number.isNaN(value) ? 0 : Math.min(Math.max(Math.trunc(value), -2147483648), 4294967295) >>> 0
    return row.bytes === 4 ? u : u & (row.bytes === 2 ? 0xffff : 0xff)
  }
  const i = Number.isNaN(value) ? 0 : Math.min(Math.max(Math.trunc(value), -2147483648), 2147483647) | 0
  return row.bytes === 4 ? i : row.bytes === 2 ? (i << 16) >> 16 : (i << 24) >> 24
}
