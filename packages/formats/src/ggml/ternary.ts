// Codes −1, 0, 1: TQ1_0 with five to a byte, in base 3, and TQ2_0 with four.
import { expr, type Expr } from "@thimble/core"
import type { BlockRow, Place, RowEncoder } from "./block.ts"
import { f, roundAway } from "./round.ts"
import { putHalf } from "./simple.ts"

const { add, and, div, int, lt, mul, rem, select, shr, sub: minus } = expr
const size = 256
const scale = (at: Place): Expr => at.perBlock("d")

const trits = new Uint8Array(size)
/** Leaves `trits` and gives the scale, the largest magnitude. */
function ternary(row: Float32Array, from: number): number {
  let amax = 0
  for (let i = 0; i < size; i++) amax = Math.max(amax, Math.abs(row[from + i]!))
  const inverse = amax === 0 ? 0 : f(1 / amax)
  for (let i = 0; i < size; i++) trits[i] = roundAway(f(row[from + i]! * inverse)) + 1
  return amax
}

/** `count` trits, `stride` apart, as a fraction of 256: the first is the most significant of five digits. */
function byteOf(at: number, count: number, stride: number): number {
  let value = 0
  for (let n = 0; n < 5; n++) value = 3 * value + (n < count ? trits[at + n * stride]! : 0)
  return Math.ceil((256 * value) / 243)
}
const encode1: RowEncoder = (row, _, out) => {
  for (let from = 0, at = 0; from < row.length; from += size, at += 54) {
    putHalf(out, at + 52, ternary(row, from))
    for (let m = 0; m < 32; m++) out[at + m] = byteOf(m, 5, 32)
    for (let m = 0; m < 16; m++) out[at + 32 + m] = byteOf(160 + m, 5, 16)
    for (let j = 0; j < 4; j++) out[at + 48 + j] = byteOf(240 + j, 4, 4)
  }
}
const encode2: RowEncoder = (row, _, out) => {
  for (let from = 0, at = 0; from < row.length; from += size, at += 66) {
    putHalf(out, at + 64, ternary(row, from))
    for (let e = 0; e < size; e++) out[at + 32 * (e >> 7) + (e & 31)]! |= trits[e]! << (2 * ((e >> 5) & 3))
  }
}

/** Digit n of a byte: the whole part of three times the fraction that n tripling leave. */
function digit({ column, sub, read }: Place): Expr {
  const e = rem(column, int(size)), row = mul(div(sub, int(8)), int(52))
  const pick = (wide: Expr, narrow: Expr, rest: Expr): Expr => select(lt(e, int(160)), wide, select(lt(e, int(240)), narrow, rest))
  const byte = pick(rem(column, int(32)), add(rem(column, int(16)), int(32)), add(rem(column, int(4)), int(48)))
  // 160 and 240 are multiples of 32 and of 16, so that the place in a run is the column's.
  const n = pick(div(e, int(32)), minus(div(e, int(16)), int(10)), minus(div(e, int(4)), int(60)))
  const power = (k: Expr): Expr => [81, 27, 9, 3].reduce((other, p, i) => select(expr.eq(k, int(4 - i)), int(p), other), int(1))
  return div(mul(and(mul(read("qs", add(row, byte)), power(n)), int(255)), int(3)), int(256))
}

export const ternaries = {
  TQ1_0: { size, group: size, layout: [["qs", "u8", 52], ["d", "f16", 1]], code: digit, zero: 1, scale, encode: encode1 },
  TQ2_0: {
    size, group: size, layout: [["qs", "u8", 64], ["d", "f16", 1]], zero: 1, scale, encode: encode2,
    code: ({ sub, lane, read }) => and(shr(read("qs", add(mul(div(sub, int(4)), int(32)), lane)), mul(rem(sub, int(4)), int(2))), int(3)),
  },
} satisfies Record<string, BlockRow>
