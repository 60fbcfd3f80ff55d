// K-quants: super-blocks of 256 with small integer scales of their own, on one or two f16 scales.
import { expr, type Expr } from "@thimble/core"
import type { BlockRow, Field, Place } from "./block.ts"
import { encodeQ2K, encodeQ3K, encodeQ45K, encodeQ6K } from "./k-encode.ts"

const { add, and, cast, div, int, lt, mul, neg, or, rem, select, shl, shr, sub: minus } = expr
const i = int
const d: Field = ["d", "f16", 1], dmin: Field = ["dmin", "f16", 1]
const size = 256

/** Two bits of 128 elements in 32 bytes: byte l holds elements l, l + 32, l + 64, l + 96. */
const pair = ({ sub, lane, read }: Place, field: string): Expr =>
  and(shr(read(field, add(mul(div(sub, i(4)), i(32)), lane)), mul(rem(sub, i(4)), i(2))), i(3))
/** One bit of 256 elements in 32 bytes: bit s of byte l is element 32s + l's. */
const bit = ({ sub, lane, read }: Place, field: string): Expr =>
  and(shr(read(field, add(mul(div(sub, i(8)), i(32)), lane)), rem(sub, i(8))), i(1))
/** Four bits of 64 elements in 32 bytes: the first half of them low, the second high. */
const half = ({ sub, lane, read }: Place): Expr =>
  and(shr(read("qs", add(mul(div(sub, i(2)), i(32)), lane)), mul(rem(sub, i(2)), i(4))), i(15))

const sixteenth = ({ column }: Place): Expr => div(column, i(16))
const times = (at: Place, field: string, steps: Expr): Expr => mul(at.perBlock(field), cast(steps, "f32"))
/** The same below zero. */
const less = (at: Place, field: string, steps: Expr): Expr => mul(neg(at.perBlock(field)), cast(steps, "f32"))

/** Eight pairs of 6-bit numbers in 12 bytes: the last four pairs keep their high bits with the first four. */
function sixBits({ sub, read }: Place, which: "scale" | "min"): Expr {
  const s = rem(sub, i(8)), row = mul(div(sub, i(8)), i(12)), r = rem(s, i(4))
  const first = read("scales", add(row, which === "scale" ? r : add(r, i(4)))), last = read("scales", add(row, add(r, i(8))))
  const low = which === "scale" ? and(last, i(15)) : shr(last, i(4))
  return select(lt(s, i(4)), and(first, i(63)), or(low, shl(shr(first, i(6)), i(4))))
}
const scale = (at: Place): Expr => times(at, "d", sixBits(at, "scale"))
const min = (at: Place): Expr => less(at, "dmin", sixBits(at, "min"))

export const kQuants = {
  Q2_K: {
    size, group: 16, layout: [["scales", "u8", 16], ["qs", "u8", 64], d, dmin], encode: encodeQ2K,
    code: (at) => pair(at, "qs"),
    scale: (at) => times(at, "d", and(at.read("scales", sixteenth(at)), i(15))),
    min: (at) => less(at, "dmin", shr(at.read("scales", sixteenth(at)), i(4))),
  },
  Q3_K: {
    size, group: 16, layout: [["hmask", "u8", 32], ["qs", "u8", 64], ["scales", "u8", 12], d], encode: encodeQ3K,
    code: (at) => add(pair(at, "qs"), shl(bit(at, "hmask"), i(2))), zero: 4,
    scale: (at) => {
      // Sixteen 6-bit numbers: four bits of each in eight bytes, two in the other four.
      const s = rem(sixteenth(at), i(16)), row = mul(div(at.sub, i(8)), i(12))
      const low = and(shr(at.read("scales", add(row, rem(s, i(8)))), mul(div(s, i(8)), i(4))), i(15))
      const high = and(shr(at.read("scales", add(row, add(i(8), rem(s, i(4))))), mul(div(s, i(4)), i(2))), i(3))
      return times(at, "d", minus(add(low, shl(high, i(4))), i(32)))
    },
  },
  Q4_K: { size, group: 32, layout: [d, dmin, ["scales", "u8", 12], ["qs", "u8", 128]], encode: encodeQ45K(4), code: half, scale, min },
  Q5_K: {
    size, group: 32, layout: [d, dmin, ["scales", "u8", 12], ["qh", "u8", 32], ["qs", "u8", 128]], encode: encodeQ45K(5),
    code: (at) => add(half(at), shl(bit(at, "qh"), i(4))), scale, min,
  },
  Q6_K: {
    size, group: 16, layout: [["ql", "u8", 128], ["qh", "u8", 64], ["scales", "i8", 16], d], encode: encodeQ6K,
    code: (at) => {
      const { sub, lane, read } = at
      const byte = read("ql", add(mul(div(sub, i(4)), i(64)), add(mul(rem(sub, i(2)), i(32)), lane)))
      return add(and(shr(byte, mul(rem(div(sub, i(2)), i(2)), i(4))), i(15)), shl(pair(at, "qh"), i(4)))
    },
    zero: 32,
    scale: (at) => times(at, "d", at.read("scales", sixteenth(at))),
  },
} satisfies Record<string, BlockRow>
