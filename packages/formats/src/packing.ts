// Codes of 1 to 8 bits in as many bits, apart in planes of 8, 4, 2 and 1 bits: 7 bits are 4 + 2 + 1.
import { expr, type Expr, type Part, type PartReader } from "@thimble/core"
import type { MatrixShape } from "./dialect/codes.ts"

const { add, and, cast, div, int, mul, or, rem, shl, shr } = expr

/** Bits of a code: so many of them, from bit `from` on, in the part of this name. */
interface Plane { readonly name: string; readonly bits: 1 | 2 | 4 | 8; readonly from: number }

/** How codes below 2^bits lie in bytes. */
export interface Packing {
  /** Bytes of the codes of a matrix. */
  bytes(shape: MatrixShape): number
  pack(codes: Uint8Array, shape: MatrixShape): Record<string, Part>
  unpack(parts: Readonly<Record<string, Part>>, shape: MatrixShape): Uint8Array
  /** The code of an element. */
  code(part: PartReader, row: Expr, column: Expr): Expr
}

export type Bits = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8

/** Where an element lies in a row of a plane: the byte, and the bit from which on. */
const place = (bits: Plane["bits"], c: number): readonly [byte: number, shift: number] =>
  bits === 8 ? [c, 0] : bits === 4 ? [(c >> 5) * 16 + (c & 15), c & 16 ? 4 : 0] : [Math.floor((c * bits) / 8), (c * bits) & 7]
/** Bytes of a row. Nibbles go in blocks of 32, as ggml's do: byte j holds elements j and j + 16. */
const width = (bits: Plane["bits"], columns: number): number => (bits === 4 ? Math.ceil(columns / 32) * 16 : Math.ceil((columns * bits) / 8))

function read({ name, bits }: Plane, part: PartReader, row: Expr, c: Expr): Expr {
  const byte = (at: Expr): Expr => cast(part(name, row, at), "i32")
  if (bits === 8) return byte(c)
  if (bits === 4) return and(shr(byte(add(mul(div(c, int(32)), int(16)), rem(c, int(16)))), mul(rem(div(c, int(16)), int(2)), int(4))), int(15))
  return and(shr(byte(div(c, int(8 / bits))), mul(rem(c, int(8 / bits)), int(bits))), int(2 ** bits - 1))
}

/** Packs codes of so many bits; the widest plane is the part `codes`. */
export function packing(bits: Bits): Packing {
  const planes: Plane[] = []
  for (const width of [8, 4, 2, 1] as const) {
    const from = planes.reduce((n, p) => n + p.bits, 0)
    if (bits - from >= width) planes.push({ name: planes.length === 0 ? "codes" : `codes${width}`, bits: width, from })
  }
  return {
    bytes: ([rows, columns]) => planes.reduce((n, p) => n + rows * width(p.bits, columns), 0),
    pack(codes, [rows, columns]) {
      return Object.fromEntries(planes.map((p): [string, Part] => {
        const stride = width(p.bits, columns), data = new Uint8Array(rows * stride), mask = 2 ** p.bits - 1
        for (let r = 0, i = 0; r < rows; r++)
          for (let c = 0; c < columns; c++, i++) {
            const [byte, shift] = place(p.bits, c)
            data[r * stride + byte]! |= ((codes[i]! >> p.from) & mask) << shift
          }
        return [p.name, { data, shape: [rows, stride], dtype: "u8" }]
      }))
    },
    unpack(parts, [rows, columns]) {
      const codes = new Uint8Array(rows * columns)
      for (const p of planes) {
        const stride = width(p.bits, columns), { data } = parts[p.name]!, mask = 2 ** p.bits - 1
        for (let r = 0, i = 0; r < rows; r++)
          for (let c = 0; c < columns; c++, i++) {
            const [byte, shift] = place(p.bits, c)
            codes[i]! |= ((data[r * stride + byte]! >> shift) & mask) << p.from
          }
      }
      return codes
    },
    code: (part, row, column) => planes.map((p) => shl(read(p, part, row, column), int(p.from))).reduce((a, b) => or(a, b)),
  }
}
