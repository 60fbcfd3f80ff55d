import { bytesOf, dtypes, encode, expr, fail, roundHalfEven, type Format, type Part } from "@thimble/core"
import type { MatrixShape, Promises } from "../quantizer.ts"
import { quantizer } from "../quantizer.ts"
import type { LawName } from "../laws/names.ts"
import { grouping, largest, newScales, precision, type GroupOptions, type ScaleType } from "./groups.ts"
import type { IntegerFormat, Integers } from "./integers.ts"
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
export function int(bits: Bits, { group = "row", scales = "f16", range = "symmetric" }: IntOptions = {}): IntegerFormat {
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

/** Scales as they are stored. */
function scalePart(values: Float32Array, scales: ScaleType, shape: MatrixShape): Part {
  const { array } = dtypes[scales], data = new array(new ArrayBuffer(values.length * bytesOf(scales)))
  values.forEach((v, i) => (data[i] = encode(scales, v)))
  return { data, shape, dtype: scales }
}
/** A format that tells how its integers lie. */
const withIntegers = (format: ReturnType<typeof quantizer>, integers: Integers): IntegerFormat => ({ ...format, integers })

function symmetric(...[bits, groups, scales, name]: Scaled): IntegerFormat {
  const top = 2 ** (bits - 1) - 1, offset = 2 ** (bits - 1), packed = packing(bits), tensor = groups.suffix.startsWith("t")
  const { unit, tiny, least, most } = precision[scales]
  const format: Format = {
    name, bits: bits + groups.bits(scales === "f32" ? 32 : 16), group: groups.size,
    encode(values, shape) {
      const [rows, columns] = shape, found = newScales("int", scales, groups.shape(shape))
      const codes = bits === 8 ? new Int8Array(rows * columns) : new Uint8Array(rows * columns)
      groups.each(shape, (g, from, to) => {
        const scale = found.put(g, largest("int", values, columns, from, to) / top, top)
        for (let i = from; i < to; i++) {
          const q = scale === 0 ? 0 : Math.max(-top, Math.min(top, roundHalfEven(values[i]! / scale)))
          codes[i] = bits === 8 ? q : q + offset
        }
      })
      const parts: Record<string, Part> = bits === 8 ? { codes: { data: codes, shape, dtype: "i8" } } : packed.pack(codes as Uint8Array, shape)
      return { ...parts, scales: found.part }
    },
    code: bits === 8 ? (part, row, column) => part("codes", row, column) : packed.code,
    ...(bits === 8 ? {} : { zero: () => expr.int(offset) }),
    scale: (part, row, column) => groups.at(part, "scales", row, column),
  }
  return withIntegers(quantizer(format, {
    laws: [...laws, "idempotent", "sign", ...(tensor ? [] : ["groups"] as const), ...(scales === "f16" ? [] : ["saturates"] as const)],
    counterexamples: { ...breaks(tensor), ...(scales === "f16" && { saturates: { values: [] } }) },
    codes: Array.from({ length: 2 * top + 1 }, (_, i) => i - top + (bits === 8 ? 0 : offset)),
    range: [least * top, most * top],
    storageBytes: (shape) => packed.bytes(shape) + groups.count(shape) * (scales === "f32" ? 4 : 2),
    // Half a step; and the largest element of a group clips where the scale is rounded down.
    bound: ({ scale, value }) => Math.abs(scale) * (0.5 + top * unit) + top * tiny + Math.abs(value) * 2 ** -23,
  }), {
    low: -top, high: top, scales, zeros: false, groups,
    pack: (codes, found, _zeros, shape) => ({
      ...(bits === 8 ? { codes: { data: Int8Array.from(codes), shape, dtype: "i8" } } : packed.pack(Uint8Array.from(codes, (q) => q + offset), shape)),
      scales: scalePart(found, scales, groups.shape(shape)),
    }),
  })
}

function asymmetric(...[bits, groups, scales, name]: Scaled): IntegerFormat {
  const top = 2 ** bits - 1, packed = packing(bits), tensor = groups.suffix.startsWith("t")
  const { unit, tiny, least, most } = precision[scales]
  const format: Format = {
    name, bits: bits + groups.bits((scales === "f32" ? 32 : 16) + 8), group: groups.size,
    encode(values, shape) {
      const [rows, columns] = shape, found = newScales("int", scales, groups.shape(shape))
      const codes = new Uint8Array(rows * columns), zeros = new Uint8Array(groups.count(shape))
      groups.each(shape, (g, from, to) => {
        largest("int", values, columns, from, to)
        let lo = 0, hi = 0
        for (let i = from; i < to; i++) {
          if (values[i]! < lo) lo = values[i]!
          if (values[i]! > hi) hi = values[i]!
        }
        const scale = found.put(g, (hi - lo) / top, top)
        const zero = scale === 0 ? 0 : Math.min(top, Math.max(0, roundHalfEven(-lo / scale)))
        zeros[g] = zero
        for (let i = from; i < to; i++) codes[i] = scale === 0 ? zero : Math.max(0, Math.min(top, roundHalfEven(values[i]! / scale) + zero))
      })
      return { ...packed.pack(codes, shape), scales: found.part, zeros: { data: zeros, shape: groups.shape(shape), dtype: "u8" } }
    },
    code: packed.code,
    zero: (part, row, column) => expr.cast(groups.at(part, "zeros", row, column), "i32"),
    scale: (part, row, column) => groups.at(part, "scales", row, column),
  }
  return withIntegers(quantizer(format, {
    laws: [...laws, ...(tensor ? [] : ["groups"] as const)],
    counterexamples: {
      ...breaks(tensor), ...(scales === "f16" && { saturates: { values: [] } }),
      // Both ends lie half a step off: they round to even, so that the range is shorter the second time.
      ...(bits > 1 && { sign: { values: [2, -2] }, idempotent: { values: [-0.5, top - 0.5, 1] } }),
    },
    range: [least * top, most * top / 2],
    storageBytes: (shape) => packed.bytes(shape) + groups.count(shape) * (scales === "f32" ? 5 : 3),
    bound: ({ scale, value }) => scale * (0.5 + top * unit) + top * tiny + Math.abs(value) * 2 ** -23,
  }), {
    low: 0, high: top, scales, zeros: true, groups,
    pack: (codes, found, zeros, shape) => ({
      ...packed.pack(Uint8Array.from(codes), shape), scales: scalePart(found, scales, groups.shape(shape)),
      zeros: { data: zeros === undefined ? new Uint8Array(groups.count(shape)) : Uint8Array.from(zeros), shape: groups.shape(shape), dtype: "u8" },
    }),
  })
}
