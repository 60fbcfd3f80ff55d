// Four-bit codes that name entries of an uneven table: IQ4_NL, and IQ4_XS with 6-bit scales in super-blocks.
import { expr, type Expr } from "@thimble/core"
import type { BlockRow, Place, RowEncoder } from "./block.ts"
import { clamp, f, nearest, nothing } from "./round.ts"
import { squares, weigh } from "./search.ts"
import { nibble, putHalf } from "./simple.ts"

const { and, cast, div, int, mul, or, rem, shl, shr, sub: minus } = expr

/** Denser where weights are: kvalues_iq4nl of ggml-common.h. */
const levels = Int8Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
const tables = { levels: { data: levels, shape: [16], dtype: "i8" } } as const
const code = (at: Place): Expr => at.look("levels", nibble(at))

/** The nearest level, halfway the upper one, of every half from −128 on: all that lies between is nearest to the same. */
const halves = Uint8Array.from({ length: 512 }, (_, i) => {
  const v = i / 2 - 128
  return levels.reduce((best, level, code) => (Math.abs(level - v) <= Math.abs(levels[best]! - v) ? code : best), 0)
})
const nearestLevel = (v: number): number => halves[clamp(Math.floor(2 * v) + 256, 0, 511)]!

const codes = new Uint8Array(256), weights = new Float32Array(32), scales = new Float32Array(8)

/** A group's scale: least squares over the codes of 16 starts. */
function search(row: Float32Array, from: number, importance: Float32Array | undefined, spread: number): number {
  let amax = 0, extreme = 0
  for (let i = 0; i < 32; i++) {
    const a = Math.abs(row[from + i]!)
    if (a > amax) {
      amax = a
      extreme = row[from + i]!
    }
  }
  if (amax < nothing) return 0
  if (importance) weigh(32, row, from, importance, spread, weights, 0)
  else for (let i = 0; i < 32; i++) weights[i] = f(row[from + i]! * row[from + i]!)
  let scale = 0, best = 0
  for (let t = -8; t <= 7; t++) {
    const first = t === -8
    const inverse = first ? f(1 / f(-extreme / -127)) : f((t - 127) / extreme)
    let sx = 0, s2 = 0
    for (let i = 0; i < 32; i++) {
      const v = row[from + i]!, level = levels[nearestLevel(f(inverse * v))]!, wl = f(weights[i]! * level)
      sx = f(sx + f(wl * v))
      s2 = f(s2 + f(wl * level))
    }
    if (first || (s2 > 0 && f(sx * sx) > f(best * s2))) {
      scale = f(sx / s2)
      best = f(scale * sx)
    }
  }
  return scale
}

function encode(size: 32 | 256): RowEncoder {
  const groups = size / 32
  return (row, importance, out) => {
    for (let from = 0, at = 0; from < row.length; from += size, at += groups === 1 ? 18 : 136) {
      const spread = f(squares(size, row, from) * f(2 / size))
      let amax = 0, extreme = 0
      for (let g = 0; g < groups; g++) {
        const scale = (scales[g] = search(row, from + 32 * g, importance, spread))
        if (Math.abs(scale) > amax) {
          amax = Math.abs(scale)
          extreme = scale
        }
      }
      // Codes are taken with the scale before f16 rounds it.
      const d = groups === 1 ? scales[0]! : f(-extreme / 32), inverse = d === 0 ? 0 : f(1 / d)
      putHalf(out, at, d)
      for (let g = 0; g < groups; g++) {
        const l = clamp(nearest(f(inverse * scales[g]!)), -32, 31), step = groups === 1 ? d : f(d * l)
        const rate = step === 0 ? 0 : f(1 / step)
        for (let i = 0; i < 32; i++) codes[32 * g + i] = nearestLevel(f(rate * row[from + 32 * g + i]!))
        if (groups === 1) continue
        out[at + 4 + (g >> 1)]! |= ((l + 32) & 15) << (4 * (g & 1))
        out[at + 2 + (g >> 2)]! |= ((l + 32) >> 4) << (2 * (g & 3))
      }
      const qs = groups === 1 ? 2 : 8
      for (let g = 0; g < groups; g++)
        for (let j = 0; j < 16; j++) out[at + qs + 16 * g + j] = codes[32 * g + j]! | codes[32 * g + 16 + j]! << 4
    }
  }
}

export const iq4 = {
  IQ4_NL: { size: 32, group: 32, layout: [["d", "f16", 1], ["qs", "u8", 16]], tables, code, scale: (at) => at.perBlock("d"), encode: encode(32) },
  IQ4_XS: {
    size: 256, group: 32, layout: [["d", "f16", 1], ["high", "u8", 2], ["low", "u8", 4], ["qs", "u8", 128]], tables, code, encode: encode(256),
    scale: (at) => {
      const { sub, read } = at
      const low = and(shr(read("low", div(sub, int(2))), mul(rem(sub, int(2)), int(4))), int(15))
      const high = and(shr(read("high", div(sub, int(4))), mul(rem(sub, int(4)), int(2))), int(3))
      return mul(at.perBlock("d"), cast(minus(or(low, shl(high, int(4))), int(32)), "f32"))
    },
  },
} satisfies Record<string, BlockRow>
