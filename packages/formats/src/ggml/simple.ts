// Blocks with one f16 scale, perhaps a minimum: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, and the one- and two-bit Q1_0 and Q2_0.
import { expr, f16Bits, type Expr } from "@thimble/core"
import type { BlockRow, Field, Place, RowEncoder } from "./block.ts"
import { f, roundAway } from "./round.ts"
import { affine, squares, symmetric, weigh, type Affine } from "./search.ts"

const { add, and, div, int, mul, rem, shl, shr } = expr
const n = 32

export const putHalf = (out: Uint8Array, at: number, value: number): void => {
  const bits = f16Bits(value)
  out[at] = bits
  out[at + 1] = bits >>> 8
}
/** Sixteen bytes to 32 elements: byte j holds element j in its low half and element j + 16 in its high half. */
export const nibble = ({ column, sub, read }: Place, field = "qs"): Expr => {
  const byte = read(field, add(mul(sub, int(16)), rem(column, int(16))))
  return and(shr(byte, mul(rem(div(column, int(16)), int(2)), int(4))), int(15))
}
/** The fifth bits of a block: bit i of four bytes is element i's. */
const fifth = ({ column, read }: Place): Expr => shl(and(shr(read("qh", div(column, int(8))), rem(column, int(8))), int(1)), int(4))

const codes = new Uint8Array(n), weights = new Float32Array(n), found: Affine = { scale: 0, drop: 0 }

/** Writes codes of 4 or 5 bits: nibbles at `qs`, fifth bits, if any, at `qh`. */
function putCodes(out: Uint8Array, qs: number, qh: number | undefined): void {
  for (let j = 0; j < 16; j++) {
    out[qs + j] = (codes[j]! & 15) | (codes[j + 16]! & 15) << 4
    if (qh === undefined) continue
    out[qh + (j >> 3)]! |= (codes[j]! >> 4) << (j & 7)
    out[qh + 2 + (j >> 3)]! |= (codes[j + 16]! >> 4) << (j & 7)
  }
}

/** The element of largest magnitude goes to code 0; codes round half up by truncation. */
function encodeSigned(bits: 4 | 5): RowEncoder {
  const half = 2 ** (bits - 1), bytes = bits === 4 ? 18 : 22, qs = bytes - 16, qh = bits === 5 ? 2 : undefined
  return (row, importance, out) => {
    const spread = importance && f(squares(row.length, row, 0) / row.length)
    for (let from = 0, at = 0; from < row.length; from += n, at += bytes) {
      if (importance) {
        weigh(n, row, from, importance, spread!, weights, 0)
        putHalf(out, at, symmetric(n, half, row, from, weights, 0, codes, 0))
      } else {
        let amax = 0, extreme = 0
        for (let i = 0; i < n; i++) {
          const a = Math.abs(row[from + i]!)
          if (a > amax) {
            amax = a
            extreme = row[from + i]!
          }
        }
        const d = f(extreme / -half), inverse = d === 0 ? 0 : f(1 / d)
        putHalf(out, at, d)
        for (let i = 0; i < n; i++) codes[i] = Math.min(2 * half - 1, Math.trunc(f(f(row[from + i]! * inverse) + (half + 0.5))))
      }
      putCodes(out, at + qs, qh === undefined ? undefined : at + qh)
    }
  }
}

/** From minimum to maximum. */
function encodeAffine(bits: 4 | 5): RowEncoder {
  const top = 2 ** bits - 1, bytes = bits === 4 ? 20 : 24, qs = bytes - 16, qh = bits === 5 ? 4 : undefined
  const search = { top, first: f(-0.9), rise: f(0.05), tries: 36 }
  return (row, importance, out) => {
    const spread = importance && f(squares(row.length, row, 0) / row.length)
    for (let from = 0, at = 0; from < row.length; from += n, at += bytes) {
      if (importance) {
        weigh(n, row, from, importance, spread!, weights, 0)
        affine(n, search, row, from, weights, 0, codes, 0, found)
        putHalf(out, at, found.scale)
        putHalf(out, at + 2, -found.drop)
      } else {
        let min = row[from]!, max = min
        for (let i = 1; i < n; i++) {
          if (row[from + i]! < min) min = row[from + i]!
          if (row[from + i]! > max) max = row[from + i]!
        }
        const d = f(f(max - min) / top), inverse = d === 0 ? 0 : f(1 / d)
        putHalf(out, at, d)
        putHalf(out, at + 2, min)
        for (let i = 0; i < n; i++) codes[i] = Math.min(top, Math.trunc(f(f(f(row[from + i]! - min) * inverse) + 0.5)))
      }
      putCodes(out, at + qs, qh === undefined ? undefined : at + qh)
    }
  }
}

const encodeBytes: RowEncoder = (row, _, out) => {
  for (let from = 0, at = 0; from < row.length; from += n, at += 34) {
    let amax = 0
    for (let i = from; i < from + n; i++) {
      const a = Math.abs(row[i]!)
      if (a > amax) amax = a
    }
    const d = f(amax / 127), inverse = d === 0 ? 0 : f(1 / d)
    putHalf(out, at, d)
    for (let i = 0; i < n; i++) out[at + 2 + i] = roundAway(f(row[from + i]! * inverse))
  }
}

/** Signs alone, times the mean magnitude. */
const encodeSigns: RowEncoder = (row, _, out) => {
  for (let from = 0, at = 0; from < row.length; from += 128, at += 18) {
    let sum = 0
    for (let i = 0; i < 128; i++) {
      sum = f(sum + Math.abs(row[from + i]!))
      if (row[from + i]! >= 0) out[at + 2 + (i >> 3)]! |= 1 << (i & 7)
    }
    putHalf(out, at, f(sum / 128))
  }
}
/** −1, 0, 1 (and 2, which no encoder writes) times the largest magnitude. */
const encodeTwoBits: RowEncoder = (row, _, out) => {
  for (let from = 0, at = 0; from < row.length; from += 64, at += 18) {
    let amax = 0
    for (let i = 0; i < 64; i++) amax = Math.max(amax, Math.abs(row[from + i]!))
    const inverse = amax === 0 ? 0 : f(1 / amax)
    putHalf(out, at, amax)
    for (let i = 0; i < 64; i++) out[at + 2 + (i >> 2)]! |= Math.min(3, Math.max(0, roundAway(f(row[from + i]! * inverse)) + 1)) << (2 * (i & 3))
  }
}

const d: Field = ["d", "f16", 1], m: Field = ["m", "f16", 1], qh: Field = ["qh", "u8", 4], qs: Field = ["qs", "u8", 16]
const scale = (at: Place): Expr => at.perBlock("d")
const min = (at: Place): Expr => at.perBlock("m")
const five = (at: Place): Expr => add(nibble(at), fifth(at))

export const simple = {
  Q4_0: { size: n, group: n, layout: [d, qs], code: nibble, zero: 8, scale, encode: encodeSigned(4) },
  Q4_1: { size: n, group: n, layout: [d, m, qs], code: nibble, scale, min, encode: encodeAffine(4) },
  Q5_0: { size: n, group: n, layout: [d, qh, qs], code: five, zero: 16, scale, encode: encodeSigned(5) },
  Q5_1: { size: n, group: n, layout: [d, m, qh, qs], code: five, scale, min, encode: encodeAffine(5) },
  Q8_0: { size: n, group: n, layout: [d, ["qs", "i8", 32]], code: ({ column, read }) => read("qs", column), scale, encode: encodeBytes },
  Q1_0: {
    size: 128, group: 128, layout: [d, qs], scale, encode: encodeSigns,
    code: ({ column, read }) => shl(and(shr(read("qs", div(column, int(8))), rem(column, int(8))), int(1)), int(1)), zero: 1,
  },
  Q2_0: {
    size: 64, group: 64, layout: [d, qs], scale, encode: encodeTwoBits,
    code: ({ column, read }) => and(shr(read("qs", div(column, int(4))), mul(rem(column, int(4)), int(2))), int(3)), zero: 1,
  },
} satisfies Record<string, BlockRow>
