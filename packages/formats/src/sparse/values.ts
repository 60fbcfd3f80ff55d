import { bf16Bits, expr, f16Bits, fail, roundHalfEven, type Expr, type Part, type PartReader, type TypedArray } from "@thimble/core"
import type { CodedFormat } from "../dialect/coded-format.ts"
import type { MatrixShape, SparseCodes, SparseOutline } from "../dialect/codes.ts"

/** What the elements that stay are stored in: as they are, or as integers with a scale per row. */
export type SparseValues = "f32" | "f16" | "bf16" | "int8" | "int4"

/** A format that stores what is not zero. */
export interface SparseFormat extends CodedFormat {
  readonly values: SparseValues
  /** Bytes of a matrix of which so many elements are stored; of blocks, all elements of those that are stored. */
  storedBytes(shape: MatrixShape, elements: number): number
  /** Why a matrix of a shape cannot be stored in it. */
  unfit?(shape: MatrixShape): string | undefined
}

/** Stored elements of a matrix, on the host. */
export type Parts = Readonly<Record<string, Part>>

/** Elements that follow the last one, so that vectors may be read from any element on. */
export const padding = 4

export interface ValueStore {
  readonly bits: number
  /** Bytes of the values of so many elements and rows. */
  bytes(elements: number, rows: number): number
  /** Parts of elements in the order in which they lie; `rowOf` tells the row of each. */
  store(elements: Float32Array, rowOf: Uint32Array, rows: number): Parts
  value(part: PartReader, row: Expr, place: Expr): Expr
}

const plain = (dtype: "f32" | "f16" | "bf16", encode?: (v: number) => number): ValueStore => ({
  bits: encode ? 16 : 32,
  bytes: (elements) => (elements + padding) * (encode ? 2 : 4),
  store(elements) {
    const data = encode ? new Uint16Array(elements.length + padding) : new Float32Array(elements.length + padding)
    elements.forEach((v, i) => (data[i] = encode ? encode(v) : v))
    const wrong = encode ? elements.findIndex((v, i) => Number.isFinite(v) && (data[i]! & (dtype === "f16" ? 0x7c00 : 0x7f80)) === (dtype === "f16" ? 0x7c00 : 0x7f80)) : -1
    if (wrong >= 0) fail("value", "sparse", `${dtype} does not hold ${elements[wrong]}`)
    return { values: { data, shape: [data.length], dtype } }
  },
  value: (part, _row, place) => part("values", place),
})

/** Integers −top … top of a row, the largest of which is its largest element: q = round(w/s), s = amax/top in f32. */
function integers(bits: 8 | 4): ValueStore {
  const top = 2 ** (bits - 1) - 1, perByte = 8 / bits, length = (elements: number): number => Math.ceil((elements + padding) / perByte)
  return {
    bits,
    bytes: (elements, rows) => length(elements) + 4 * rows,
    store(elements, rowOf, rows) {
      const scales = new Float32Array(rows), data = bits === 8 ? new Int8Array(length(elements.length)) : new Uint8Array(length(elements.length)).fill(0x88)
      elements.forEach((v, i) => (scales[rowOf[i]!] = Math.max(scales[rowOf[i]!]!, Math.abs(v))))
      scales.forEach((amax, r) => (scales[r] = amax / top))
      elements.forEach((v, i) => {
        const s = scales[rowOf[i]!]!, q = s === 0 ? 0 : Math.max(-top, Math.min(top, roundHalfEven(v / s)))
        if (bits === 8) data[i] = q
        else data[i >> 1] = (data[i >> 1]! & (i & 1 ? 0x0f : 0xf0)) | ((q + 8) << (4 * (i & 1)))
      })
      return { values: { data, shape: [data.length], dtype: bits === 8 ? "i8" : "u8" }, scales: { data: scales, shape: [rows], dtype: "f32" } }
    },
    value(part, row, place) {
      const { and, cast, div, int, mul, rem, shr, sub } = expr
      const code = bits === 8 ? part("values", place) : sub(and(shr(cast(part("values", div(place, int(2))), "i32"), mul(rem(place, int(2)), int(4))), int(15)), int(8))
      return mul(cast(code, "f32"), part("scales", row))
    },
  }
}

/** A row per way of storing values. */
export const valueStores: Readonly<Record<SparseValues, ValueStore>> = { f32: plain("f32"), f16: plain("f16", f16Bits), bf16: plain("bf16", bf16Bits), int8: integers(8), int4: integers(4) }

export function valuesOf(op: string, values: SparseValues): ValueStore {
  return Object.hasOwn(valueStores, values) ? valueStores[values] : fail("value", op, `values must be ${Object.keys(valueStores).join(", ")}, got ${String(values)}`)
}

/** What checkpoints store of a sparse matrix: those that hold plain elements, with their zeros put back by `fill`. */
export function coded(values: SparseValues, pairs: boolean, fill: (parts: Parts, shape: MatrixShape, out: TypedArray) => void): Pick<CodedFormat, "outline" | "codes"> {
  return {
    outline: (shape): SparseOutline | undefined => (values === "int8" || values === "int4" ? undefined : { kind: "sparse", shape, dtype: values, pairs }),
    codes(parts, shape): SparseCodes {
      const { data, dtype } = parts.values!, all = new (data.constructor as new (n: number) => TypedArray)(shape[0] * shape[1])
      fill(parts, shape, all)
      return { kind: "sparse", shape, pairs, values: { data: all, shape, dtype } }
    },
  }
}
