import { expr, type Format, type Part } from "@thimble/core"
import { books } from "./books.ts"
import type { StoredCodes } from "./coded-format.ts"
import type { BookCodes, BookName, MatrixShape, NestedAbsmax, Outline } from "./codes.ts"
import { sharedFormat } from "./shared-format.ts"
import { unencoded } from "./unencoded.ts"

const { add, and, cast, div, int, mul, rem, shr, sub } = expr

const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b))

/** Whether blocks of a matrix, which run on from row to row, are groups of rows, and no byte has codes of two rows. */
export const inRows = ([, columns]: MatrixShape, block: number): boolean => columns % block === 0 && columns % 2 === 0

/** What a matrix of a codebook is in a file, where its rows are whole blocks. */
export const bookOutline = (book: BookName, block: number, nested: boolean) => (shape: MatrixShape): Outline | undefined =>
  inRows(shape, block) ? { kind: "book", shape, book, block, nested } : undefined

/** The codes of a matrix whose parts are stored as `bookFormat` has them; `map` where the parts have none. */
export function bookCodes(book: BookName, block: number, parts: Readonly<Record<string, Part>>, shape: MatrixShape, { map }: { readonly map?: Float32Array } = {}): BookCodes {
  const { codes, absmax, nested, offset } = parts
  return {
    kind: "book", book, shape, block, codes: codes!.data as Uint8Array,
    absmax: nested === undefined ? (absmax!.data as Float32Array)
      : { codes: absmax!.data as Uint8Array, map: (parts.map?.data as Float32Array | undefined) ?? map!, absmax: nested.data as Float32Array, offset: offset!.data[0]!, size: 256 } satisfies NestedAbsmax,
  }
}

/** Codes of a codebook as a weight. Blocks that end within rows are found by counting elements along the whole matrix. */
export function bookFormat(codes: BookCodes): StoredCodes {
  const { book, shape, block } = codes, [rows, columns] = shape, whole = inRows(shape, block)
  const nested = codes.absmax instanceof Float32Array ? undefined : codes.absmax, blocks = Math.ceil((rows * columns) / block), perRow = columns / block, size = nested?.size
  const name = `${book}${block === 64 ? "" : ` g${block}`}${nested ? ` nested${nested.size === 256 ? "" : nested.size}` : ""}${whole && !nested ? "" : ` in ${columns}`}${whole ? "" : " flat"}`
  const code: Format["code"] = (part, row, column) => {
    const place = whole ? column : add(mul(row, int(columns)), column), byte = whole ? part("codes", row, div(place, int(2))) : part("codes", div(place, int(2)))
    return part("values", and(shr(cast(byte, "i32"), mul(sub(int(1), rem(place, int(2))), int(4))), int(15)))
  }
  const scale: Format["scale"] = (part, row, column) => {
    const number = whole ? add(mul(row, int(perRow)), div(column, int(block))) : div(add(mul(row, int(columns)), column), int(block))
    const own = whole ? part("absmax", row, div(column, int(block))) : part("absmax", number)
    return size ? add(mul(part("map", cast(own, "i32")), part("nested", div(number, int(size)))), part("offset", int(0))) : own
  }
  return {
    format: sharedFormat(name, () => ({
      name, bits: 4 + (size ? 8 + 32 / size : 32) / block, group: whole ? block : divisor(columns, block),
      tables: { values: { data: books[book], shape: [16], dtype: "f32" } },
      encode: unencoded(name), code, scale,
      outline: (shape) => ({ kind: "book", shape, book, block, nested: size !== undefined }),
      codes: (parts, shape) => {
        const found = bookCodes(book, block, parts, shape)
        return size ? { ...found, absmax: { ...(found.absmax as NestedAbsmax), size } } : found
      },
    })),
    parts: {
      codes: { data: codes.codes, shape: whole ? [rows, columns / 2] : [codes.codes.length], dtype: "u8" },
      absmax: { data: nested ? nested.codes : (codes.absmax as Float32Array), shape: whole ? [rows, perRow] : [blocks], dtype: nested ? "u8" : "f32" },
      ...(nested && {
        nested: { data: nested.absmax, shape: [nested.absmax.length], dtype: "f32" }, offset: { data: Float32Array.of(nested.offset), shape: [1], dtype: "f32" },
        map: { data: nested.map, shape: [256], dtype: "f32" },
      } satisfies Record<string, Part>),
    },
  }
}
