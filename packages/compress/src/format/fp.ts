import { expr, fail } from "@thimble/core"
import type { Stores } from "@thimble/models"
import type { CodedFormat } from "@thimble/formats"
import { quantizer, type QuantizedFormat, type SolvableFormat } from "../quantizer.ts"
import type { LawName } from "../laws/names.ts"
import { grouping, largest, newScales, peakOf, precision, scalePart, storedScale, type Group, type ScaleType } from "./groups.ts"
import { packing } from "./packing.ts"
import { bitsOf, halfSpacing, inUnits, smallBits, smallFloats, smallValues, spelled, type SmallFloat } from "./small-float.ts"

export interface FpOptions {
  /** Who shares a scale, amax over the largest value: neighbours along a row, a `row` (unless given), the `tensor`, or `none`: no scale at all. */
  readonly group?: Group | "none"
  /** What scales are stored in; f32 unless given. */
  readonly scales?: ScaleType
}

/**
 * Small floats: e4m3 (FP8, largest 448, no infinity), e5m2 (FP8), e3m2, e2m3 (FP6) and e2m1 (FP4), each element rounded to
 * the nearest (halves to even) times a scale. Without a scale it is a plain cast, and what lies beyond the largest value
 * becomes it.
 */
export function fp<K extends SmallFloat>(kind: K, { group = "row", scales = "f32" }: FpOptions = {}): QuantizedFormat & Stores<K> {
  if (!Object.hasOwn(smallFloats, kind)) fail("value", "fp", `no float is called '${String(kind)}'`, `one of ${Object.keys(smallFloats).join(", ")}`)
  if (!(scales in precision)) fail("dtype", "fp", `scales must be f32, f16 or bf16, got ${String(scales)}`)
  const scaled = group !== "none", groups = grouping("fp", group === "none" ? "row" : group)
  const { most } = smallFloats[kind], bits = bitsOf(kind), packed = packing(bits), { tables, unit: counts, look } = spelled(kind)
  const { unit, tiny, least, most: widest } = precision[scales], scaleBytes = scales === "f32" ? 4 : 2
  const levels = smallValues(kind), tensor = group === "tensor"
  const block = [tensor ? Infinity : 1, groups.size] as const
  const coded: Pick<CodedFormat, "outline" | "codes"> = {
    outline: (shape) => ({ kind: "float", shape, block, scales }),
    codes: ({ codes, scales: found }, shape) => ({ kind: "float", shape, block, codes: codes!.data as Uint8Array, scales: found! }),
  }
  const format: SolvableFormat = {
    ...(kind === "e4m3" && scaled ? coded : {}),
    name: `fp ${kind}${scaled ? `${groups.suffix}${scales === "f32" ? "" : ` ${scales}`}` : " cast"}`,
    bits: bits + (scaled ? groups.bits(8 * scaleBytes) : 0),
    group: scaled ? groups.size : 1,
    tables,
    encode(values, shape) {
      const [rows, columns] = shape, codes = new Uint8Array(rows * columns), found = newScales("fp", scales, groups.shape(shape))
      groups.each(shape, (g, from, to) => {
        const amax = largest("fp", values, columns, from, to), scale = scaled ? found.put(g, amax / most, most) : 1
        for (let i = from; i < to; i++) codes[i] = scale === 0 ? 0 : smallBits(kind, values[i]! / scale)
      })
      return { ...packed.pack(codes, shape), ...(scaled ? { scales: found.part } : {}) }
    },
    ...(!tensor && {
      grids: {
        fit: (values) => ({ scale: scaled ? storedScale("fp", scales, peakOf(values) / most, most) : 1, zero: 0 }),
        code: (v, scale) => (scale === 0 ? 0 : smallBits(kind, v / scale)),
        value: (code, scale) => Math.fround(levels[code]! * scale),
        pack: (codes, steps, _zeros, shape) => ({ ...packed.pack(codes, shape), ...(scaled && { scales: scalePart("fp", scales, steps, groups.shape(shape)) }) }),
      },
    }),
    code: (part, row, column) => look(part, packed.code(part, row, column)),
    scale: (part, row, column) => (scaled ? inUnits(groups.at(part, "scales", row, column), counts) : expr.constant("f32", counts)),
  }
  const refuses = scaled && scales === "f16"
  return quantizer(format, {
    laws: [...always, ...(scaled ? ["constant", "scaling"] as const : []), ...(scaled && scales === "f32" ? [] : ["onGrid"] as const), ...(scaled && !tensor ? ["extremes"] as const : []), ...(refuses ? [] : ["saturates"] as const), ...(tensor ? [] : ["groups"] as const)],
    counterexamples: {
      translation: { values: [0] },
      ...(refuses && { saturates: { values: [] } }),
      ...(scaled ? {} : { extremes: { values: [1] }, constant: { values: [1.9] }, scaling: { values: [16 * most] } }),
      ...(tensor && { groups: { values: [0, 0.31], columns: 1 }, ...(scaled && { extremes: { values: [1, 0.5], columns: 1 } }) }),
    },
    range: scaled ? [least * most, widest] : [0, Infinity],
    storageBytes: (shape) => packed.bytes(shape) + (scaled ? groups.count(shape) * scaleBytes : 0),
    bound({ code, scale }, x) {
      const v = code * counts, s = Math.abs(scale / counts), near = halfSpacing(kind, v) * s * (1 + 2 ** -22)
      if (Math.abs(v) < most) return near + (scaled ? most * tiny : 0)
      // The largest value takes what a scale that was rounded down leaves beyond it; without a scale, everything.
      return scaled ? near + most * (s * unit + tiny) : x === undefined ? Infinity : Math.max(near, Math.abs(x) - most)
    },
  })
}

const always: readonly LawName[] = [
  "bound", "outputBound", "nearest", "idempotent", "zero", "sign", "monotone", "permutation", "ragged", "rows", "views", "finite", "subnormal", "overflow", "oneSided",
  "storage", "anyBytes", "deterministic", "devices", "products",
]
