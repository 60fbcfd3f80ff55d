// Four-bit floats on small float scales: MXFP4 (a power of two per 32), NVFP4 (an 8-bit float per 16).
import { expr, f32FromBits, type Expr } from "@thimble/core"
import type { BlockRow, Place, RowEncoder } from "./block.ts"
import { f } from "./round.ts"
import { nibble } from "./simple.ts"

const { add, and, bitcast, cast, constant, div, eq, int, lt, mul, rem, select, shl, shr, sub: minus } = expr

/** E2M1 twice over, so that all are whole: 0, ½, 1, 1½, 2, 3, 4, 6. */
const levels = Int8Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
const tables = { levels: { data: levels, shape: [16], dtype: "i8" } } as const

/** The first of the codes whose value at this scale is nearest. */
function nearestCode(v: number, scale: number): number {
  let best = 0, least = Math.abs(f(0 - v))
  for (let code = 1; code < 16; code++) {
    const error = Math.abs(f(f(levels[code]! * scale) - v))
    if (error < least) {
      best = code
      least = error
    }
  }
  return best
}

/** 2^(e − 128), the power of two for doubled codes; the two smallest are subnormal. */
const powerBits = (e: number): number => (e < 2 ? 0x200000 << e : (e - 1) << 23)

const encodeMX: RowEncoder = (row, _, out) => {
  for (let from = 0, at = 0; from < row.length; from += 32, at += 17) {
    let amax = 0
    for (let i = 0; i < 32; i++) amax = Math.max(amax, Math.abs(row[from + i]!))
    // 4 is the largest power of two among the values. What lies below the least exponent takes it.
    const e = amax > 0 ? Math.max(0, Math.floor(f(Math.log2(amax))) - 2 + 127) : 0
    const scale = f32FromBits(powerBits(e))
    out[at] = e
    for (let j = 0; j < 16; j++) out[at + 1 + j] = nearestCode(row[from + j]!, scale) | nearestCode(row[from + 16 + j]!, scale) << 4
  }
}

/** Half of an unsigned E4M3: exponent bias 7, and 0x7F is 0. */
const e4m3Half = (byte: number): number => (byte === 0x7f ? 0 : (byte >> 3 === 0 ? (byte & 7) * 2 ** -9 : (8 + (byte & 7)) * 2 ** ((byte >> 3) - 10)) / 2)

/** Unsigned E4M3 of a value: the nearest, halfway up, at most 448. Below 2⁻⁶ ggml stays below it, at ⅞ of it. */
function e4m3Bits(v: number): number {
  if (!(v > 0)) return 0
  const x = Math.min(v, 448)
  if (x < 2 ** -6) return Math.min(7, Math.round(x * 512))
  const exponent = Math.floor(Math.log2(x))
  // Eight steps to a power of two, the first of which is step 8; step 16 is the next power.
  return Math.min(0x7e, (exponent + 6) * 8 + Math.round(x * 2 ** (3 - exponent)))
}

const encodeNV: RowEncoder = (row, _, out) => {
  for (let from = 0, at = 0; from < row.length; from += 64, at += 36)
    for (let s = 0; s < 4; s++) {
      let amax = 0
      for (let i = 0; i < 16; i++) amax = Math.max(amax, Math.abs(row[from + 16 * s + i]!))
      const byte = e4m3Bits(f(amax / 6)), scale = e4m3Half(byte)
      out[at + s] = byte
      for (let j = 0; j < 8; j++) out[at + 4 + 8 * s + j] = nearestCode(row[from + 16 * s + j]!, scale) | nearestCode(row[from + 16 * s + 8 + j]!, scale) << 4
    }
}

export const microscaled = {
  MXFP4: {
    size: 32, group: 32, layout: [["e", "u8", 1], ["qs", "u8", 16]], tables, encode: encodeMX,
    code: (at) => at.look("levels", nibble(at)),
    scale: ({ sub, read }) => {
      const e = read("e", sub)
      return bitcast(select(eq(e, int(0)), int(powerBits(0)), select(eq(e, int(1)), int(powerBits(1)), shl(minus(e, int(1)), int(23)))), "f32")
    },
  },
  NVFP4: {
    size: 64, group: 16, layout: [["scales", "u8", 4], ["qs", "u8", 32]], tables, encode: encodeNV,
    code: ({ column, read, look }: Place): Expr => {
      const byte = read("qs", add(mul(div(column, int(16)), int(8)), rem(column, int(8))))
      return look("levels", and(shr(byte, mul(rem(div(column, int(8)), int(2)), int(4))), int(15)))
    },
    scale: ({ column, read }) => {
      // The half of it: below 8 multiples of 2⁻¹⁰, above the bits of an f32 whose exponent is 119 too small.
      const byte = read("scales", div(column, int(16))), held = select(eq(byte, int(0x7f)), int(0), byte)
      return select(lt(held, int(8)), mul(cast(held, "f32"), constant("f32", 2 ** -10)), bitcast(add(shl(held, int(20)), int(119 << 23)), "f32"))
    },
  },
} satisfies Record<string, BlockRow>
