import { expr, fail, roundHalfEven, type Part } from "@thimble/core"
import type { Numbered, Stores } from "@thimble/models"
import type { MatrixShape, Parts, Promises, QuantizedFormat, SolvableFormat } from "../quantizer.ts"
import { needsValues, quantizer } from "../quantizer.ts"
import type { LawName } from "../laws/names.ts"
import type { Ends } from "./ends.ts"
import { grouping, largest, newScales, peakOf, precision, scalePart, storedAs, storedScale, type GroupOptions } from "./groups.ts"
import type { IntegerFormat, Integers } from "./integers.ts"
import type { Grid } from "../quantize/grid.ts"
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
export function int<B extends Bits>(bits: B, options?: IntOptions & { readonly ends?: "whole" }): IntegerFormat & Stores<Numbered<"int", B>>
export function int<B extends Bits>(bits: B, options: IntOptions): QuantizedFormat & Stores<Numbered<"int", B>>
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

/** Values of a group, and how much each of them matters. */
interface Run { readonly values: Float32Array | Float64Array; readonly importance?: Float32Array | undefined }

/** Adding and taking away what leaves no room for fractions rounds to nearest, halves to even. */
const noFractions = 1.5 * 2 ** 52
/** Σ importance · (x − x̂)² over a run of values, with codes from `least` to `most`; it ends where that is more than `limit`. */
function squaredError({ values, importance }: Run, { scale, zero, least, most, limit }: Readonly<Record<"scale" | "zero" | "least" | "most" | "limit", number>>): number {
  let sum = 0
  for (let i = 0; i < values.length && sum <= limit; i++) {
    const v = values[i]!, t = scale === 0 ? 0 : v / scale + noFractions - noFractions, q = t < least - zero ? least - zero : t > most - zero ? most - zero : t
    const e = v - Math.fround(q * scale)
    sum += importance === undefined ? e * e : e * e * importance[i]!
  }
  return sum
}
/** A run of a matrix. Runs that end within a row begin in it; those of whole matrices repeat the columns. */
function runOf(values: Float32Array, importance: Float32Array | undefined, columns: number, from: number, to: number): Run {
  const own = importance === undefined ? undefined : to - from <= columns ? importance.subarray(from % columns, (from % columns) + to - from) : Float32Array.from({ length: to - from }, (_, i) => importance[(from + i) % columns]!)
  return { values: values.subarray(from, to), importance: own }
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
const breaks = (tensor: boolean): Promises["counterexamples"] => ({ ...(tensor && { groups: { values: [0, 0.31], columns: 1 }, chunks: { values: [1, 0.5], columns: 1 }, extremes: { values: [1, 0.5], columns: 1 } }), translation: { values: [0] } })

/** A format that tells how its integers lie. */
const withIntegers = (format: ReturnType<typeof quantizer>, integers: Integers): IntegerFormat => ({ ...format, integers, laws: [...format.laws, "learnedSteps", "integerSums"] })

function symmetric(...[bits, groups, scales, name, ends]: Scaled): QuantizedFormat {
  const top = 2 ** (bits - 1) - 1, offset = 2 ** (bits - 1), packed = packing(bits), tensor = groups.suffix.startsWith("t")
  const { unit, tiny, least, most } = precision[scales]
  const codeOf = (v: number, scale: number): number => (scale === 0 ? 0 : Math.max(-top, Math.min(top, roundHalfEven(v / scale))))
  /** The step of a group, as `store` stores it. What no scale holds is refused, whatever a search would make of it. */
  const stepOf = (run: Run, store: (scale: number) => number): number => {
    const amax = peakOf(run.values), whole = store(amax / top)
    if (ends === undefined || whole === 0) return whole
    return store(ends.find({
      values: run.values, low: -amax, high: amax, symmetric: true, levels: top + 1,
      error: (_, high, limit) => squaredError(run, { scale: storedAs(scales, high / top), zero: 0, least: -top, most: top, limit }),
    })[1] / top)
  }
  const pack = (codes: Uint8Array, shape: MatrixShape): Parts => {
    if (bits !== 8) return packed.pack(codes, shape)
    const data = new Int8Array(codes.length)
    for (let i = 0; i < codes.length; i++) data[i] = codes[i]! - offset
    return { codes: { data, shape, dtype: "i8" } }
  }
  const store = (codes: Uint8Array, steps: ArrayLike<number>, shape: MatrixShape): Parts => ({ ...pack(codes, shape), scales: scalePart("int", scales, steps, groups.shape(shape)) })
  const format: SolvableFormat = {
    name, bits: bits + groups.bits(scales === "f32" ? 32 : 16), group: groups.size,
    encode(values, shape, { importance } = {}) {
      const [rows, columns] = shape, found = newScales("int", scales, groups.shape(shape)), codes = new Uint8Array(rows * columns)
      checkImportance(importance, columns)
      groups.each(shape, (g, from, to) => {
        largest("int", values, columns, from, to)
        const scale = stepOf(runOf(values, importance, columns, from, to), (s) => found.put(g, s, top))
        for (let i = from; i < to; i++) codes[i] = codeOf(values[i]!, scale) + offset
      })
      return { ...pack(codes, shape), scales: found.part }
    },
    ...(!tensor && {
      grids: {
        fit: (values) => ({ scale: stepOf({ values }, (s) => storedScale("int", scales, s, top)), zero: offset }),
        code: (v, scale, zero) => codeOf(v, scale) + zero,
        value: (code, scale, zero) => Math.fround((code - zero) * scale),
        step: (scale) => storedScale("int", scales, scale, top),
        pack: (codes, steps, _zeros, shape) => store(codes, steps, shape),
      },
    }),
    code: bits === 8 ? (part, row, column) => part("codes", row, column) : packed.code,
    ...(bits === 8 ? {} : { zero: () => expr.int(offset) }),
    scale: (part, row, column) => groups.at(part, "scales", row, column),
  }
  const made = quantizer(format, {
    laws: [...laws, ...(ends && !ends.leastSquares ? [] : ["idempotent"] as const), ...(ends?.leastSquares ? ["noWorse"] as const : []), "sign", ...(ends || scales === "f32" ? [] : ["onGrid"] as const), ...(tensor ? [] : ["groups", "extremes"] as const), ...(scales === "f16" ? [] : ["saturates"] as const)],
    counterexamples: { ...breaks(tensor), ...(scales === "f16" && { saturates: { values: [] } }) },
    codes: Array.from({ length: 2 * top + 1 }, (_, i) => i - top + (bits === 8 ? 0 : offset)),
    range: [(least * top) / (ends?.least ?? 1), most * top],
    storageBytes: (shape) => packed.bytes(shape) + groups.count(shape) * (scales === "f32" ? 4 : 2),
    // Half a step; and the largest element of a group clips where the scale is rounded down.
    bound: ({ scale, value }, x) => Math.abs(scale) * (0.5 + top * unit) + top * tiny + Math.abs(value) * 2 ** -23 + (ends ? beyond(name, x, -top * scale, top * scale) : 0),
  })
  return ends !== undefined ? made : withIntegers(made, { low: -top, high: top, scales, zeros: false, groups, pack: (codes, steps, _zeros, shape) => store(Uint8Array.from(codes, (q) => q + offset), steps, shape) })
}

/** How far a value lies beyond the last codes. */
const beyond = (name: string, x: number | undefined, low: number, high: number): number => (x === undefined ? needsValues(name) : Math.max(0, low - x, x - high))

function asymmetric(...[bits, groups, scales, name, ends]: Scaled): QuantizedFormat {
  const top = 2 ** bits - 1, packed = packing(bits), tensor = groups.suffix.startsWith("t")
  const { unit, tiny, least, most } = precision[scales]
  const codeOf = (v: number, scale: number, zero: number): number => (scale === 0 ? zero : Math.max(0, Math.min(top, roundHalfEven(v / scale) + zero)))
  const zeroOf = (lo: number, scale: number): number => (scale === 0 ? 0 : Math.min(top, Math.max(0, roundHalfEven(-lo / scale))))
  /** The grid of a group, its step as `store` stores it. */
  const gridOf = (run: Run, store: (scale: number) => number): Grid => {
    let [lo, hi] = endsOf(run.values), scale = store((hi - lo) / top)
    if (ends !== undefined && scale > 0) {
      [lo, hi] = ends.find({
        values: run.values, low: lo, high: hi, symmetric: false, levels: Math.max(2, Math.round(((top + 1) * Math.max(hi, -lo)) / (hi - lo))),
        error(low, high, limit) {
          const tried = storedAs(scales, (high - low) / top)
          return squaredError(run, { scale: tried, zero: zeroOf(low, tried), least: 0, most: top, limit })
        },
      })
      scale = store((hi - lo) / top)
    }
    return { scale, zero: zeroOf(lo, scale) }
  }
  const zeroPart = (zeros: Uint8Array, shape: MatrixShape): Part => ({ data: zeros, shape: groups.shape(shape), dtype: "u8" })
  const store = (codes: Uint8Array, steps: ArrayLike<number>, zeros: Uint8Array, shape: MatrixShape): Parts => ({ ...packed.pack(codes, shape), scales: scalePart("int", scales, steps, groups.shape(shape)), zeros: zeroPart(zeros, shape) })
  const format: SolvableFormat = {
    name, bits: bits + groups.bits((scales === "f32" ? 32 : 16) + 8), group: groups.size,
    encode(values, shape, { importance } = {}) {
      const [rows, columns] = shape, found = newScales("int", scales, groups.shape(shape))
      const codes = new Uint8Array(rows * columns), zeros = new Uint8Array(groups.count(shape))
      checkImportance(importance, columns)
      groups.each(shape, (g, from, to) => {
        largest("int", values, columns, from, to)
        const { scale, zero } = gridOf(runOf(values, importance, columns, from, to), (s) => found.put(g, s, top))
        zeros[g] = zero
        for (let i = from; i < to; i++) codes[i] = codeOf(values[i]!, scale, zero)
      })
      return { ...packed.pack(codes, shape), scales: found.part, zeros: zeroPart(zeros, shape) }
    },
    ...(!tensor && {
      grids: {
        fit: (values) => gridOf({ values }, (s) => storedScale("int", scales, s, top)),
        code: codeOf,
        value: (code, scale, zero) => Math.fround((code - zero) * scale),
        step: (scale) => storedScale("int", scales, scale, top),
        pack: store,
      },
    }),
    code: packed.code,
    zero: (part, row, column) => expr.cast(groups.at(part, "zeros", row, column), "i32"),
    scale: (part, row, column) => groups.at(part, "scales", row, column),
  }
  const made = quantizer(format, {
    laws: [...laws, ...(ends?.leastSquares ? ["noWorse"] as const : []), ...(ends || tensor || scales === "f32" ? [] : ["onGrid"] as const), ...(tensor ? [] : ["groups"] as const)],
    counterexamples: {
      ...breaks(tensor), ...(scales === "f16" && { saturates: { values: [] } }),
      // Both ends lie half a step off: they round to even, so that the range is shorter the second time. Searches take other ends.
      ...(tensor && ends === undefined && { onGrid: { values: [2, -2], columns: 1 } }),
      ...(bits > 1 && ends === undefined && { sign: { values: [2, -2] }, idempotent: { values: [-0.5, top - 0.5, 1] } }),
    },
    range: [(least * top) / (ends?.least ?? 1), most * top / 2],
    storageBytes: (shape) => packed.bytes(shape) + groups.count(shape) * (scales === "f32" ? 5 : 3),
    bound: ({ scale, value, zero }, x) => scale * (0.5 + top * unit) + top * tiny + Math.abs(value) * 2 ** -23 + (ends ? beyond(name, x, -zero * scale, (top - zero) * scale) : 0),
  })
  return ends !== undefined ? made : withIntegers(made, { low: 0, high: top, scales, zeros: true, groups, pack: (codes, steps, zeros, shape) => store(Uint8Array.from(codes), steps, zeros === undefined ? new Uint8Array(groups.count(shape)) : Uint8Array.from(zeros), shape) })
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
