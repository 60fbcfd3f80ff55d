// Floats of 4 to 8 bits: their values, rounding to them, and how tables spell them for devices.
import { expr, roundHalfEven, type Expr, type Format, type Part, type PartReader } from "@thimble/core"
import type { Bits } from "./packing.ts"

export type SmallFloat = "e4m3" | "e5m2" | "e3m2" | "e2m3" | "e2m1"

/** Bits of exponent and mantissa, bias, largest finite value. Only e4m3 (its last code) and e5m2 have more than numbers. */
export interface SmallFloatRow { readonly exponent: number; readonly mantissa: number; readonly bias: number; readonly most: number }

/** Source: OCP 8-bit floating point 1.0; OCP microscaling formats 1.0. */
export const smallFloats: Readonly<Record<SmallFloat, SmallFloatRow>> = {
  e4m3: { exponent: 4, mantissa: 3, bias: 7, most: 448 },
  e5m2: { exponent: 5, mantissa: 2, bias: 15, most: 57344 },
  e3m2: { exponent: 3, mantissa: 2, bias: 3, most: 28 },
  e2m3: { exponent: 2, mantissa: 3, bias: 1, most: 7.5 },
  e2m1: { exponent: 2, mantissa: 1, bias: 1, most: 6 },
}
export const bitsOf = (kind: SmallFloat): Bits => (1 + smallFloats[kind].exponent + smallFloats[kind].mantissa) as Bits

/** Whole part of the binary logarithm of a positive number. */
export function exponentOf(v: number): number {
  const e = Math.floor(Math.log2(v))
  return 2 ** e > v ? e - 1 : 2 ** (e + 1) <= v ? e + 1 : e
}

/** Distance between neighbours at a magnitude. */
function spacing({ mantissa, bias }: SmallFloatRow, magnitude: number): number {
  return 2 ** (Math.max(magnitude === 0 ? -Infinity : exponentOf(magnitude), 1 - bias) - mantissa)
}
/** Farthest that a number of this rounded value may lie, short of the largest ones. */
export const halfSpacing = (kind: SmallFloat, value: number): number => spacing(smallFloats[kind], Math.abs(value)) / 2

/** The code of the nearest number, halves to even codes; beyond the largest, the largest. */
export function smallBits(kind: SmallFloat, v: number): number {
  const row = smallFloats[kind], { mantissa, bias, most } = row, a = Math.min(Math.abs(v), most)
  const step = spacing(row, a), code = (Math.log2(step) + mantissa - (1 - bias)) * 2 ** mantissa + roundHalfEven(a / step)
  return code + (v < 0 ? 2 ** (bitsOf(kind) - 1) : 0)
}

/** The value of each code. */
export function smallValues(kind: SmallFloat): Float32Array {
  const { mantissa, bias, exponent, most } = smallFloats[kind], half = 2 ** (bitsOf(kind) - 1)
  return Float32Array.from({ length: 2 * half }, (_, code) => {
    const e = (code % half) >> mantissa, m = code % 2 ** mantissa
    const a = e === 0 ? m * 2 ** (1 - bias - mantissa) : (2 ** mantissa + m) * 2 ** (e - bias - mantissa)
    const beyond = exponent === 5 && m === 0 ? Infinity : NaN
    return (code >= half ? -1 : 1) * (a > most ? beyond : a)
  })
}

/** A table of values for decode expressions: whole numbers times a unit where they are small, so that products may run on integers. */
export interface Spelled {
  readonly tables: NonNullable<Format["tables"]>
  /** What the entries count. */
  readonly unit: number
  look(part: PartReader, code: Expr): Expr
}
export function spelled(kind: SmallFloat): Spelled {
  const values = smallValues(kind), { mantissa, bias, most } = smallFloats[kind]
  const least = 2 ** (1 - bias - mantissa), small = most / least < 128
  const table: Part = small ? { data: Int8Array.from(values, (v) => v / least), shape: [values.length], dtype: "i8" } : { data: values, shape: [values.length], dtype: "f32" }
  return { tables: { values: table }, unit: small ? least : 1, look: (part, code) => part("values", code) }
}

/** A scale that counts units of a table. */
export const inUnits = (scale: Expr, unit: number): Expr => expr.mul(scale, expr.constant("f32", unit))
/** 2^(e − 127); the least of them is no normal f32, and the code beyond the largest stands for NaN. */
export const powerOfTwo = (e: Expr): Expr =>
  expr.bitcast(expr.select(expr.eq(e, expr.int(0)), expr.int(0x400000), expr.select(expr.eq(e, expr.int(255)), expr.int(0x7fc00000), expr.shl(e, expr.int(23)))), "f32")
