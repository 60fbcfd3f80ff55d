// Codebook types: an index names a vector of 4 or 8 magnitudes with signs of their own (IQ2, IQ3), or one of −1, 0, 1
// that is shifted by an eighth (IQ1). They are only read: their encoders search the neighbourhoods of lattice points.
import { expr, type Expr, type Part } from "@thimble/core"
import type { BlockRow, Field, Place } from "./block.ts"
import { grids } from "./iq-grids.ts"

const { add, and, bitcast, cast, constant, div, eq, int, lt, mul, neg, or, rem, select, shl, shr, sub: minus } = expr
const size = 256

/** Unpacks a codebook to vectors of `width` levels. */
function grid(packed: string, bits: 2 | 3, width: 4 | 8, levels: readonly number[]): Part {
  const bytes = Uint8Array.from(atob(packed.replace(/\s/g, "")), (c) => c.charCodeAt(0))
  const data = Uint8Array.from({ length: (8 * bytes.length) / bits }, (_, i) => {
    const at = i * bits, word = bytes[at >> 3]! | (bytes[(at >> 3) + 1] ?? 0) << 8
    return levels[(word >> (at & 7)) & (2 ** bits - 1)]!
  })
  return { data, shape: [data.length / width, width], dtype: "u8" }
}
/** Seven signs; the eighth makes the number of minuses even. */
const signs: Part = { data: Uint8Array.from({ length: 128 }, (_, i) => i | ((i ^ i >> 1 ^ i >> 2 ^ i >> 3 ^ i >> 4 ^ i >> 5 ^ i >> 6) & 1) << 7), shape: [128], dtype: "u8" }

const three = [8, 25, 43]
const tables2 = (packed: string): BlockRow["tables"] => ({ grid: grid(packed, 2, 8, three), signs })

const octet = ({ column }: Place): Expr => div(column, int(8))
/** Octet within its group of 32, and element within the octet. */
const quarter = (at: Place): Expr => rem(octet(at), int(4))
const element = ({ column }: Place): Expr => rem(column, int(8))

/** An entry of the codebook; the mask states how large it can be. */
const entry = (at: Place, index: Expr, within: Expr, mask: number): Expr => and(at.look("grid", index, within), int(mask))
const magnitude = (at: Place, index: Expr, within: Expr): Expr => entry(at, index, within, 63)
const signed = (at: Place, value: Expr, byte: Expr): Expr => select(eq(and(shr(byte, element(at)), int(1)), int(0)), value, neg(value))
/** The sign byte whose number are seven bits of a group's word. */
const sevenSigns = (at: Place, word: Expr): Expr => at.look("signs", and(cast(shr(word, cast(mul(quarter(at), int(7)), "u32")), "i32"), int(127)))

/** d · (½ + steps) · unit */
const halves = (at: Place, steps: Expr, unit: number): Expr => mul(mul(at.perBlock("d"), add(constant("f32", 0.5), cast(steps, "f32"))), constant("f32", unit))
const top4 = (word: Expr): Expr => and(cast(shr(word, constant("u32", 28)), "i32"), int(15))
/** A nibble per 16 elements. */
const nibble16 = ({ column, sub, read }: Place): Expr => and(shr(read("scales", sub), mul(rem(div(column, int(16)), int(2)), int(4))), int(15))

/** IQ1: vector and shift in eighths, 8g ± 1. */
const shifted = (at: Place, index: Expr, minusBit: Expr): Expr =>
  add(mul(entry(at, index, element(at), 3), int(8)), minus(int(-7), mul(minusBit, int(2))))
/** d · (2 steps + 1) / 8 */
const eighths = (d: Expr, steps: Expr): Expr => mul(mul(d, cast(add(mul(steps, int(2)), int(1)), "f32")), constant("f32", 0.125))

const d: Field = ["d", "f16", 1]

export const codebooks = {
  IQ2_XXS: {
    size, group: 32, layout: [d, ["words", "u32", 16]], tables: tables2(grids.iq2xxs),
    code: (at) => {
      const pair = mul(at.sub, int(2))
      const index = and(cast(shr(at.read("words", pair), cast(mul(quarter(at), int(8)), "u32")), "i32"), int(255))
      return signed(at, magnitude(at, index, element(at)), sevenSigns(at, at.read("words", add(pair, int(1)))))
    },
    scale: (at) => halves(at, top4(at.read("words", add(mul(at.sub, int(2)), int(1)))), 0.25),
  },
  IQ2_XS: {
    size, group: 16, layout: [d, ["qs", "u16", 32], ["scales", "u8", 8]], tables: tables2(grids.iq2xs),
    code: (at) => {
      const word = at.read("qs", octet(at))
      return signed(at, magnitude(at, and(word, int(511)), element(at)), at.look("signs", shr(word, int(9))))
    },
    scale: (at) => halves(at, nibble16(at), 0.25),
  },
  IQ2_S: {
    size, group: 16, layout: [d, ["qs", "u8", 32], ["signs8", "u8", 32], ["qh", "u8", 8], ["scales", "u8", 8]], tables: { grid: grid(grids.iq2s, 2, 8, three) },
    code: (at) => {
      const high = and(shr(at.read("qh", at.sub), mul(quarter(at), int(2))), int(3))
      return signed(at, magnitude(at, add(at.read("qs", octet(at)), shl(high, int(8))), element(at)), at.read("signs8", octet(at)))
    },
    scale: (at) => halves(at, nibble16(at), 0.25),
  },
  IQ3_XXS: {
    size, group: 32, layout: [d, ["qs", "u8", 64], ["words", "u32", 8]], tables: { grid: grid(grids.iq3xxs, 3, 4, [4, 12, 20, 28, 36, 44, 52, 62]), signs },
    code: (at) => signed(at, magnitude(at, at.read("qs", div(at.column, int(4))), rem(at.column, int(4))), sevenSigns(at, at.read("words", at.sub))),
    scale: (at) => halves(at, top4(at.read("words", at.sub)), 0.5),
  },
  IQ3_S: {
    size, group: 32, layout: [d, ["qs", "u8", 64], ["qh", "u8", 8], ["signs8", "u8", 32], ["scales", "u8", 4]],
    tables: { grid: grid(grids.iq3s, 3, 4, [1, 3, 5, 7, 9, 11, 13, 15]) },
    code: (at) => {
      const four = div(at.column, int(4)), high = and(shr(at.read("qh", at.sub), rem(four, int(8))), int(1))
      return signed(at, magnitude(at, add(at.read("qs", four), shl(high, int(8))), rem(at.column, int(4))), at.read("signs8", octet(at)))
    },
    scale: (at) => {
      const steps = and(shr(at.read("scales", div(at.sub, int(2))), mul(rem(at.sub, int(2)), int(4))), int(15))
      return mul(at.perBlock("d"), cast(add(mul(steps, int(2)), int(1)), "f32"))
    },
  },
  IQ1_S: {
    size, group: 32, layout: [d, ["qs", "u8", 32], ["qh", "u16", 8]], tables: { grid: grid(grids.iq1s, 2, 8, [0, 1, 2]) },
    code: (at) => {
      const word = at.read("qh", at.sub)
      const high = and(shr(word, mul(quarter(at), int(3))), int(7))
      return shifted(at, add(at.read("qs", octet(at)), shl(high, int(8))), shr(word, int(15)))
    },
    scale: (at) => eighths(at.perBlock("d"), and(shr(at.read("qh", at.sub), int(12)), int(7))),
  },
  IQ1_M: {
    size, group: 16, layout: [["qs", "u8", 32], ["qh", "u8", 16], ["scales", "u16", 4]], tables: { grid: grid(grids.iq1s, 2, 8, [0, 1, 2]) },
    code: (at) => {
      // A nibble per octet: three bits of the index, one for the shift.
      const bits = and(shr(at.read("qh", div(at.column, int(16))), mul(rem(octet(at), int(2)), int(4))), int(15))
      return shifted(at, add(at.read("qs", octet(at)), shl(and(bits, int(7)), int(8))), shr(bits, int(3)))
    },
    scale: (at) => {
      const words = mul(div(at.sub, int(8)), int(4))
      const word = (n: number): Expr => at.read("scales", add(words, int(n)))
      // The f16 scale is spread over the top nibbles of four words.
      const bits = or(or(shr(word(0), int(12)), and(shr(word(1), int(8)), int(0xf0))), or(and(shr(word(2), int(4)), int(0xf00)), and(word(3), int(0xf000))))
      // With 112 added to its exponent it is the f32, or for subnormals half of that and 2⁻¹⁴: no f32 is subnormal on the way.
      const normal = bitcast(add(shl(and(bits, int(0x7fff)), int(13)), int(112 << 23)), "f32")
      const subnormal = minus(add(normal, normal), constant("f32", 2 ** -14))
      const magnitude = bitcast(select(lt(subnormal, normal), subnormal, normal), "i32")
      const steps = and(shr(at.read("scales", div(at.sub, int(2))), mul(rem(div(at.column, int(16)), int(4)), int(3))), int(7))
      return eighths(bitcast(or(magnitude, shl(shr(bits, int(15)), int(31))), "f32"), steps)
    },
  },
} satisfies Record<string, BlockRow>
