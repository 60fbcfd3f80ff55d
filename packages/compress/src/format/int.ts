import { expr, fail, roundHalfEven, type Format, type Part } from "@thimble/core"
import type { Promises, QuantizedFormat } from "../quantizer.ts"
import { needsValues, quantizer } from "../quantizer.ts"
import type { LawName } from "../laws/names.ts"
import type { Ends } from "./ends.ts"
import { grouping, largest, newScales, precision, storedAs, type GroupOptions } from "./groups.ts"
import { packing, type Bits } from "./packing.ts"

export interface IntOptions extends GroupOptions {
  /**
   * `symmetric` (unless given): codes in ±(2ᵇ⁻¹−1), so that integer kernels never meet −2ᵇ⁻¹; needs two bits.
   * `asymmetric`: from the least to the largest element of a group, zero included, with an integer zero point.
   */
  readonly range?: "symmetric" | "asymmetric"
  /**
   * How far codes reach: over the `whole` of a group (unless given), or as far as {@link mse}, {@link percentile} or
   * {@link entropy} find best. What lies beyond becomes the last code, so that error bounds need the values.
   */
  readonly ends?: "whole" | Ends
}

/**
 * Integers, round to nearest (halves to even), one scale per group of a row, which may be ragged at its end:
 * ŵ = (q − z)·s. Symmetric: s = amax/(2ᵇ⁻¹−1) and no z. Asymmetric: s = (hi − lo)/(2ᵇ−1) for lo = min(w, 0) and
 * hi = max(w, 0), z = round(−lo/s), a byte per group. Codes are rounded with the scale as it is stored. They take b bits:
 * of four bits two share a byte as in ggml's blocks of 32 (byte j holds elements j and j + 16), of other numbers the
 * planes of 4, 2 and 1 bits lie apart.
 */
export function int(bits: Bits, { group = "row", scales = "f16", range = "symmetric", ends = "whole" }: IntOptions = {}): QuantizedFormat {
  if (!Number.isInteger(bits) || bits < 1 || bits > 8) fail("value", "int", `bits must be a whole number from 1 to 8, got ${bits}`)
  if (range !== "symmetric" && range !== "asymmetric") fail("value", "int", `range must be symmetric or asymmetric, got ${String(range)}`)
  if (!(scales in precision)) fail("dtype", "int", `scales must be f32, f16 or bf16, got ${String(scales)}`)
  if (bits === 1 && range === "symmetric") fail("value", "int", "one symmetric bit has no code but 0", "binary() stores signs")
  const groups = grouping("int", group)
  if (ends !== "whole" && typeof (ends as Partial<Ends> | undefined)?.find !== "function") fail("value", "int", `ends must be whole, or what mse(), percentile() or entropy() give, got ${String(ends)}`)
  const suffix = `${groups.suffix}${scales === "f16" ? "" : ` ${scales}`}`, name = `${range === "symmetric" ? "int" : "uint"}${bits}${suffix}`
  const make = range === "symmetric" ? symmetric : asymmetric, plain = make(bits, groups, scales, name)
  return ends === "whole" ? plain : { ...make(bits, groups, scales, `${name} ${ends.name}`, ends), plain }
}

type Scaled = [bits: Bits, groups: ReturnType<typeof grouping>, scales: NonNullable<GroupOptions["scales"]>, name: string, ends?: Ends]

/** A run of a matrix, and how much its columns matter. */
interface Run { readonly values: Float32Array; readonly importance: Float32Array | undefined; readonly columns: number; readonly from: number; readonly to: number }
/** Adding and taking away what leaves no room for fractions rounds to nearest, halves to even. */
const whole = 1.5 * 2 ** 52
/** Σ importance · (x − x̂)² over a run, with codes from `least` to `most`; it ends where that is more than `limit`. */
function squaredError({ values, importance, columns, from, to }: Run, { scale, zero, least, most, limit }: Readonly<Record<"scale" | "zero" | "least" | "most" | "limit", number>>): number {
  let sum = 0
  for (let i = from; i < to && sum <= limit; i++) {
    const v = values[i]!, t = scale === 0 ? 0 : v / scale + whole - whole, q = t < least - zero ? least - zero : t > most - zero ? most - zero : t
    const e = v - Math.fround(q * scale)
    sum += importance === undefined ? e * e : e * e * importance[i % columns]!
  }
  return sum
}
function checkImportance(importance: Float32Array | undefined, columns: number): void {
  if (importance && importance.length !== columns) fail("shape", "int", `${importance.length} importances for ${columns} columns`)
}

/** What integers with a scale per group obey: all that asks for no more than a nearest code. */
const laws: readonly LawName[] = [
  "bound", "outputBound", "nearest", "zero", "constant", "scaling", "monotone", "permutation", "rows", "views", "finite", "subnormal",
  "overflow", "ragged", "oneSided", "storage", "anyBytes", "deterministic", "devices", "products",
]
/** One scale for all: a change of one row reaches the others. */
const breaks = (tensor: boolean): Promises["counterexamples"] => ({ ...(tensor && { groups: { values: [0, 0.31], columns: 1 } }), translation: { values: [0] } })

function symmetric(...[bits, groups, scales, name, ends]: Scaled): QuantizedFormat {
  const top = 2 ** (bits - 1) - 1, offset = 2 ** (bits - 1), packed = packing(bits), tensor = groups.suffix.startsWith("t")
  const { unit, tiny, least, most } = precision[scales]
  const format: Format = {
    name, bits: bits + groups.bits(scales === "f32" ? 32 : 16), group: groups.size,
    encode(values, shape, { importance } = {}) {
      const [rows, columns] = shape, found = newScales("int", scales, groups.shape(shape))
      const codes = bits === 8 ? new Int8Array(rows * columns) : new Uint8Array(rows * columns)
      const codeOf = (v: number, scale: number): number => (scale === 0 ? 0 : Math.max(-top, Math.min(top, roundHalfEven(v / scale))))
      checkImportance(importance, columns)
      groups.each(shape, (g, from, to) => {
        const amax = largest("int", values, columns, from, to)
        // What no scale holds is refused, whatever a search would make of it.
        let scale = found.put(g, amax / top, top)
        if (ends && scale > 0)
          scale = found.put(g, ends.find({
            values: values.subarray(from, to), low: -amax, high: amax, symmetric: true, levels: top + 1,
            error: (_, high, limit) => squaredError({ values, importance, columns, from, to }, { scale: storedAs(scales, high / top), zero: 0, least: -top, most: top, limit }),
          })[1] / top, top)
        for (let i = from; i < to; i++) codes[i] = codeOf(values[i]!, scale) + (bits === 8 ? 0 : offset)
      })
      const parts: Record<string, Part> = bits === 8 ? { codes: { data: codes, shape, dtype: "i8" } } : packed.pack(codes as Uint8Array, shape)
      return { ...parts, scales: found.part }
    },
    code: bits === 8 ? (part, row, column) => part("codes", row, column) : packed.code,
    ...(bits === 8 ? {} : { zero: () => expr.int(offset) }),
    scale: (part, row, column) => groups.at(part, "scales", row, column),
  }
  return quantizer(format, {
    laws: [...laws, ...(ends && !ends.leastSquares ? [] : ["idempotent"] as const), ...(ends?.leastSquares ? ["noWorse"] as const : []), "sign", ...(tensor ? [] : ["groups"] as const), ...(scales === "f16" ? [] : ["saturates"] as const)],
    counterexamples: { ...breaks(tensor), ...(scales === "f16" && { saturates: { values: [] } }) },
    codes: Array.from({ length: 2 * top + 1 }, (_, i) => i - top + (bits === 8 ? 0 : offset)),
    range: [(least * top) / (ends?.least ?? 1), most * top],
    storageBytes: (shape) => packed.bytes(shape) + groups.count(shape) * (scales === "f32" ? 4 : 2),
    // Half a step; and the largest element of a group clips where the scale is rounded down.
    bound: ({ scale, value }, x) => Math.abs(scale) * (0.5 + top * unit) + top * tiny + Math.abs(value) * 2 ** -23 + (ends ? beyond(name, x, -top * scale, top * scale) : 0),
  })
}

/** How far a value lies beyond the last codes. */
const beyond = (name: string, x: number | undefined, low: number, high: number): number => (x === undefined ? needsValues(name) : Math.max(0, low - x, x - high))

function asymmetric(...[bits, groups, scales, name, ends]: Scaled): QuantizedFormat {
  const top = 2 ** bits - 1, packed = packing(bits), tensor = groups.suffix.startsWith("t")
  const { unit, tiny, least, most } = precision[scales]
  const format: Format = {
    name, bits: bits + groups.bits((scales === "f32" ? 32 : 16) + 8), group: groups.size,
    encode(values, shape, { importance } = {}) {
      const [rows, columns] = shape, found = newScales("int", scales, groups.shape(shape))
      const codes = new Uint8Array(rows * columns), zeros = new Uint8Array(groups.count(shape))
      const zeroOf = (lo: number, scale: number): number => (scale === 0 ? 0 : Math.min(top, Math.max(0, roundHalfEven(-lo / scale))))
      const codeOf = (v: number, scale: number, zero: number): number => (scale === 0 ? zero : Math.max(0, Math.min(top, roundHalfEven(v / scale) + zero)))
      checkImportance(importance, columns)
      groups.each(shape, (g, from, to) => {
        largest("int", values, columns, from, to)
        let lo = 0, hi = 0
        for (let i = from; i < to; i++) {
          if (values[i]! < lo) lo = values[i]!
          if (values[i]! > hi) hi = values[i]!
        }
        let scale = found.put(g, (hi - lo) / top, top)
        if (ends && scale > 0) {
          [lo, hi] = ends.find({
            values: values.subarray(from, to), low: lo, high: hi, symmetric: false, levels: Math.max(2, Math.round(((top + 1) * Math.max(hi, -lo)) / (hi - lo))),
            error(low, high, limit) {
              const tried = storedAs(scales, (high - low) / top)
              return squaredError({ values, importance, columns, from, to }, { scale: tried, zero: zeroOf(low, tried), least: 0, most: top, limit })
            },
          })
          scale = found.put(g, (hi - lo) / top, top)
        }
        const zero = zeros[g] = zeroOf(lo, scale)
        for (let i = from; i < to; i++) codes[i] = codeOf(values[i]!, scale, zero)
      })
      return { ...packed.pack(codes, shape), scales: found.part, zeros: { data: zeros, shape: groups.shape(shape), dtype: "u8" } }
    },
    code: packed.code,
    zero: (part, row, column) => expr.cast(groups.at(part, "zeros", row, column), "i32"),
    scale: (part, row, column) => groups.at(part, "scales", row, column),
  }
  return quantizer(format, {
    laws: [...laws, ...(ends?.leastSquares ? ["noWorse"] as const : []), ...(tensor ? [] : ["groups"] as const)],
    counterexamples: {
      ...breaks(tensor), ...(scales === "f16" && { saturates: { values: [] } }),
      // Both ends lie half a step off: they round to even, so that the range is shorter the second time. Searches take other ends.
      ...(bits > 1 && ends === undefined && { sign: { values: [2, -2] }, idempotent: { values: [-0.5, top - 0.5, 1] } }),
    },
    range: [(least * top) / (ends?.least ?? 1), most * top / 2],
    storageBytes: (shape) => packed.bytes(shape) + groups.count(shape) * (scales === "f32" ? 5 : 3),
    bound: ({ scale, value, zero }, x) => scale * (0.5 + top * unit) + top * tiny + Math.abs(value) * 2 ** -23 + (ends ? beyond(name, x, -zero * scale, (top - zero) * scale) : 0),
  })
}
