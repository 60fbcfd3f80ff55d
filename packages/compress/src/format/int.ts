import { expr, fail, f16Bits, f16Value, roundHalfEven, type Format, type Part } from "@thimble/core"

export interface IntOptions {
  /** Neighbours along a row that share a scale; the whole row unless given. The last group of a row may be shorter. */
  readonly group?: number
}

/**
 * Symmetric integers, round to nearest, one scale per group of a row: s = amax/(2ᵇ⁻¹−1), q = round(w/s), ŵ = q·s, with
 * q in ±(2ᵇ⁻¹−1), so that the integer kernels never meet −2ᵇ⁻¹. Scales are f16, and it is the f16 scale that codes are
 * rounded with. Codes of up to four bits are stored two to a byte, offset to be positive: byte j of a block of 32 holds
 * element j in its low half and element j+16 in its high half (as ggml's blocks do); wider ones take a byte each.
 */
export function int(bits: 2 | 3 | 4 | 5 | 6 | 7 | 8, { group = Infinity }: IntOptions = {}): Format {
  if (!Number.isInteger(bits) || bits < 2 || bits > 8) fail("value", "int", `bits must be a whole number from 2 to 8, got ${bits}`)
  if (group !== Infinity && (!Number.isInteger(group) || group < 1)) fail("value", "int", `group must be a whole number ≥ 1, got ${group}`)
  const largest = 2 ** (bits - 1) - 1
  const packed = bits <= 4
  const offset = 2 ** (bits - 1)
  const groupOf = (columns: number): number => Math.min(group, Math.max(columns, 1))
  return {
    name: `int${bits}${group === Infinity ? "" : `g${group}`}`,
    bits: (packed ? 4 : 8) + (group === Infinity ? 0 : 16 / group),
    group,
    encode(values, [rows, columns]) {
      const size = groupOf(columns), groups = Math.ceil(columns / size)
      const blocks = Math.ceil(columns / 32)
      const codes = packed ? new Uint8Array(rows * blocks * 16) : new Int8Array(rows * columns)
      const scales = new Uint16Array(rows * groups)
      for (let r = 0; r < rows; r++)
        for (let g = 0; g < groups; g++) {
          const from = r * columns + g * size, to = Math.min(from + size, (r + 1) * columns)
          let amax = 0
          for (let i = from; i < to; i++) {
            if (!Number.isFinite(values[i]!)) fail("value", "int", `row ${r}, column ${i - r * columns} is ${values[i]}`, "quantize finite weights")
            amax = Math.max(amax, Math.abs(values[i]!))
          }
          const stored = f16Bits(Math.fround(amax / largest))
          const scale = f16Value(stored)
          if (!Number.isFinite(scale)) fail("value", "int", `group ${g} of row ${r} reaches ${amax}, too large for an f16 scale`, "scale the weights down")
          scales[r * groups + g] = stored
          for (let i = from; i < to; i++) {
            const q = scale === 0 ? 0 : Math.max(-largest, Math.min(largest, roundHalfEven(values[i]! / scale)))
            if (!packed) codes[i] = q
            else {
              const c = i - r * columns
              codes[(r * blocks + (c >> 5)) * 16 + (c & 15)]! |= (q + offset) << (c & 16 ? 4 : 0)
            }
          }
        }
      const parts: Record<string, Part> = {
        codes: packed ? { data: codes, shape: [rows, blocks * 16], dtype: "u8" } : { data: codes, shape: [rows, columns], dtype: "i8" },
        scales: { data: scales, shape: [rows, groups], dtype: "f16" },
      }
      return parts
    },
    code(part, row, column) {
      const i = expr.int
      if (!packed) return part("codes", row, column)
      // Byte of the block, then the half that element's bit 4 names.
      const byte = part("codes", row, expr.add(expr.mul(expr.div(column, i(32)), i(16)), expr.rem(column, i(16))))
      const half = expr.rem(expr.div(column, i(16)), i(2))
      const wide = expr.cast(byte, "i32")
      return expr.rem(expr.select(expr.eq(half, i(0)), wide, expr.shr(wide, i(4))), i(16))
    },
    ...(packed ? { zero: () => expr.int(offset) } : {}),
    scale: (part, row, column) => part("scales", row, group === Infinity ? expr.int(0) : expr.div(column, expr.int(group))),
  }
}
