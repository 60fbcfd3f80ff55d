import { expr, fail, roundHalfEven, type Part } from "@thimble/core"
import type { MatrixShape, Parts, Promises, QuantizedFormat, SolvableFormat } from "../quantizer.ts"
import { quantizer } from "../quantizer.ts"
import type { LawName } from "../laws/names.ts"
import { grouping, largest, newScales, peakOf, precision, scalePart, storedScale, type GroupOptions } from "./groups.ts"
import { packing, type Bits } from "./packing.ts"

export interface IntOptions extends GroupOptions {
  /**
   * `symmetric` (unless given): codes in ±(2ᵇ⁻¹−1), so that integer kernels never meet −2ᵇ⁻¹; needs two bits.
   * `asymmetric`: from the least to the largest element of a group, zero included, with an integer zero point.
   */
  readonly range?: "symmetric" | "asymmetric"
}

/**
 * Integers, round to nearest (halves to even), one scale per group of a row, which may be ragged at its end:
 * ŵ = (q − z)·s. Symmetric: s = amax/(2ᵇ⁻¹−1) and no z. Asymmetric: s = (hi − lo)/(2ᵇ−1) for lo = min(w, 0) and
 * hi = max(w, 0), z = round(−lo/s), a byte per group. Codes are rounded with the scale as it is stored. They take b bits:
 * of four bits two share a byte as in ggml's blocks of 32 (byte j holds elements j and j + 16), of other numbers the
 * planes of 4, 2 and 1 bits lie apart.
 */
export function int(bits: Bits, { group = "row", scales = "f16", range = "symmetric" }: IntOptions = {}): QuantizedFormat {
  if (!Number.isInteger(bits) || bits < 1 || bits > 8) fail("value", "int", `bits must be a whole number from 1 to 8, got ${bits}`)
  if (range !== "symmetric" && range !== "asymmetric") fail("value", "int", `range must be symmetric or asymmetric, got ${String(range)}`)
  if (!(scales in precision)) fail("dtype", "int", `scales must be f32, f16 or bf16, got ${String(scales)}`)
  if (bits === 1 && range === "symmetric") fail("value", "int", "one symmetric bit has no code but 0", "binary() stores signs")
  const groups = grouping("int", group)
  const suffix = `${groups.suffix}${scales === "f16" ? "" : ` ${scales}`}`
  return range === "symmetric" ? symmetric(bits, groups, scales, `int${bits}${suffix}`) : asymmetric(bits, groups, scales, `uint${bits}${suffix}`)
}

type Scaled = [bits: Bits, groups: ReturnType<typeof grouping>, scales: NonNullable<GroupOptions["scales"]>, name: string]

/** What integers with a scale per group obey: all that asks for no more than a nearest code. */
const laws: readonly LawName[] = [
  "bound", "outputBound", "nearest", "zero", "constant", "scaling", "monotone", "permutation", "rows", "views", "finite", "subnormal",
  "overflow", "ragged", "oneSided", "storage", "anyBytes", "deterministic", "devices", "products",
]
/** One scale for all: a change of one row reaches the others. */
const breaks = (tensor: boolean): Promises["counterexamples"] => ({ ...(tensor && { groups: { values: [0, 0.31], columns: 1 } }), translation: { values: [0] } })

function symmetric(...[bits, groups, scales, name]: Scaled): QuantizedFormat {
  const top = 2 ** (bits - 1) - 1, offset = 2 ** (bits - 1), packed = packing(bits), tensor = groups.suffix.startsWith("t")
  const { unit, tiny, least, most } = precision[scales]
  const codeOf = (v: number, scale: number): number => (scale === 0 ? 0 : Math.max(-top, Math.min(top, roundHalfEven(v / scale))))
  const pack = (codes: Uint8Array, shape: MatrixShape): Parts =>
    bits === 8 ? { codes: { data: Int8Array.from(codes, (q) => q - offset), shape, dtype: "i8" } } : packed.pack(codes, shape)
  const format: SolvableFormat = {
    name, bits: bits + groups.bits(scales === "f32" ? 32 : 16), group: groups.size,
    encode(values, shape) {
      const [rows, columns] = shape, found = newScales("int", scales, groups.shape(shape))
      const codes = new Uint8Array(rows * columns)
      groups.each(shape, (g, from, to) => {
        const scale = found.put(g, largest("int", values, columns, from, to) / top, top)
        for (let i = from; i < to; i++) codes[i] = codeOf(values[i]!, scale) + offset
      })
      return { ...pack(codes, shape), scales: found.part }
    },
    ...(!tensor && {
      grids: {
        fit: (values) => ({ scale: storedScale("int", scales, peakOf(values) / top, top), zero: offset }),
        code: (v, scale, zero) => codeOf(v, scale) + zero,
        value: (code, scale, zero) => Math.fround((code - zero) * scale),
        pack: (codes, steps, _zeros, shape) => ({ ...pack(codes, shape), scales: scalePart("int", scales, steps, groups.shape(shape)) }),
      },
    }),
    code: bits === 8 ? (part, row, column) => part("codes", row, column) : packed.code,
    ...(bits === 8 ? {} : { zero: () => expr.int(offset) }),
    scale: (part, row, column) => groups.at(part, "scales", row, column),
  }
  return quantizer(format, {
    laws: [...laws, "idempotent", "sign", ...(tensor ? [] : ["groups"] as const), ...(scales === "f16" ? [] : ["saturates"] as const)],
    counterexamples: { ...breaks(tensor), ...(scales === "f16" && { saturates: { values: [] } }) },
    codes: Array.from({ length: 2 * top + 1 }, (_, i) => i - top + (bits === 8 ? 0 : offset)),
    range: [least * top, most * top],
    storageBytes: (shape) => packed.bytes(shape) + groups.count(shape) * (scales === "f32" ? 4 : 2),
    // Half a step; and the largest element of a group clips where the scale is rounded down.
    bound: ({ scale, value }) => Math.abs(scale) * (0.5 + top * unit) + top * tiny + Math.abs(value) * 2 ** -23,
  })
}

function asymmetric(...[bits, groups, scales, name]: Scaled): QuantizedFormat {
  const top = 2 ** bits - 1, packed = packing(bits), tensor = groups.suffix.startsWith("t")
  const { unit, tiny, least, most } = precision[scales]
  const codeOf = (v: number, scale: number, zero: number): number => (scale === 0 ? zero : Math.max(0, Math.min(top, roundHalfEven(v / scale) + zero)))
  const zeroOf = (lo: number, scale: number): number => (scale === 0 ? 0 : Math.min(top, Math.max(0, roundHalfEven(-lo / scale))))
  const zeroPart = (zeros: Uint8Array, shape: MatrixShape): Part => ({ data: zeros, shape: groups.shape(shape), dtype: "u8" })
  const format: SolvableFormat = {
    name, bits: bits + groups.bits((scales === "f32" ? 32 : 16) + 8), group: groups.size,
    encode(values, shape) {
      const [rows, columns] = shape, found = newScales("int", scales, groups.shape(shape))
      const codes = new Uint8Array(rows * columns), zeros = new Uint8Array(groups.count(shape))
      groups.each(shape, (g, from, to) => {
        largest("int", values, columns, from, to)
        const [lo, hi] = endsOf(values.subarray(from, to)), scale = found.put(g, (hi - lo) / top, top), zero = zeroOf(lo, scale)
        zeros[g] = zero
        for (let i = from; i < to; i++) codes[i] = codeOf(values[i]!, scale, zero)
      })
      return { ...packed.pack(codes, shape), scales: found.part, zeros: zeroPart(zeros, shape) }
    },
    ...(!tensor && {
      grids: {
        fit(values) {
          const [lo, hi] = endsOf(values), scale = storedScale("int", scales, (hi - lo) / top, top)
          return { scale, zero: zeroOf(lo, scale) }
        },
        code: codeOf,
        value: (code, scale, zero) => Math.fround((code - zero) * scale),
        pack: (codes, steps, zeros, shape) => ({ ...packed.pack(codes, shape), scales: scalePart("int", scales, steps, groups.shape(shape)), zeros: zeroPart(zeros, shape) }),
      },
    }),
    code: packed.code,
    zero: (part, row, column) => expr.cast(groups.at(part, "zeros", row, column), "i32"),
    scale: (part, row, column) => groups.at(part, "scales", row, column),
  }
  return quantizer(format, {
    laws: [...laws, ...(tensor ? [] : ["groups"] as const)],
    counterexamples: {
      ...breaks(tensor), ...(scales === "f16" && { saturates: { values: [] } }),
      // Both ends lie half a step off: they round to even, so that the range is shorter the second time.
      ...(bits > 1 && { sign: { values: [2, -2] }, idempotent: { values: [-0.5, top - 0.5, 1] } }),
    },
    range: [least * top, most * top / 2],
    storageBytes: (shape) => packed.bytes(shape) + groups.count(shape) * (scales === "f32" ? 5 : 3),
    bound: ({ scale, value }) => scale * (0.5 + top * unit) + top * tiny + Math.abs(value) * 2 ** -23,
  })
}

/** Least and largest of values and zero. */
function endsOf(values: Float32Array | Float64Array): readonly [lo: number, hi: number] {
  let lo = 0, hi = 0
  for (const v of values) {
    if (v < lo) lo = v
    if (v > hi) hi = v
  }
  return [lo, hi]
}
