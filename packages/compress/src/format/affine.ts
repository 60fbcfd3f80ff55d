import { expr, fail, roundHalfEven } from "@thimble/core"
import type { Numbered, Stores } from "@thimble/models"
import { quantizer, type MatrixShape, type Parts, type QuantizedFormat, type SolvableFormat } from "../quantizer.ts"
import { grouping, largest, newScales, precision, storedAs, type GroupOptions } from "./groups.ts"
import { packing, type Bits } from "./packing.ts"

/** An affine format: groups can be stored on any steps and minima that a solver finds. */
export interface AffineFormat extends QuantizedFormat {
  /** Stores a matrix on given grids [rows, groups], rounded to what they are stored in; each code is the nearest. */
  encodeOn(values: ArrayLike<number>, shape: MatrixShape, steps: ArrayLike<number>, minima: ArrayLike<number>): Parts
}

/**
 * Integers from a minimum that is a number like the scale, ŵ = q·s + m with 0 ≤ q < 2ᵇ: s = (hi − lo)/(2ᵇ − 1) and m = lo of each
 * group of a row, both as they are stored. Zero need not be among the values. MLX's files and HQQ have such groups.
 */
export function affine<B extends Bits>(bits: B, { group = 64, scales = "f16" }: GroupOptions = {}): AffineFormat & Stores<Numbered<"affine", B>> {
  if (!Number.isInteger(bits) || bits < 1 || bits > 8) fail("value", "affine", `bits must be a whole number from 1 to 8, got ${bits}`)
  if (!(scales in precision)) fail("dtype", "affine", `scales must be f32, f16 or bf16, got ${String(scales)}`)
  if (group === "tensor") fail("value", "affine", "one group for a whole matrix is not offered", "group: \"row\", or a number of neighbours")
  const groups = grouping("affine", group), top = 2 ** bits - 1, packed = packing(bits), { unit, tiny, least, most } = precision[scales], bytes = scales === "f32" ? 4 : 2
  const codeOf = (v: number, step: number, min: number): number => (step === 0 ? 0 : Math.max(0, Math.min(top, roundHalfEven((v - min) / step))))
  const encodeOn: AffineFormat["encodeOn"] = (values, shape, steps, minima) => {
    const codes = new Uint8Array(shape[0] * shape[1]), at = groups.shape(shape), s = newScales("affine", scales, at), m = newScales("affine", scales, at)
    groups.each(shape, (g, from, to) => {
      const step = s.put(g, steps[g]!, top), min = m.put(g, minima[g]!, 1)
      for (let i = from; i < to; i++) codes[i] = codeOf(values[i]!, step, min)
    })
    return { ...packed.pack(codes, shape), scales: s.part, mins: m.part }
  }
  const format: SolvableFormat = {
    name: `affine${bits}${groups.suffix}${scales === "f16" ? "" : ` ${scales}`}`, bits: bits + groups.bits(16 * bytes), group: groups.size,
    encode(values, shape) {
      const count = groups.count(shape), steps = new Float64Array(count), minima = new Float64Array(count)
      groups.each(shape, (g, from, to) => {
        largest("affine", values, shape[1], from, to)
        const [lo, hi] = extent(values.subarray(from, to))
        minima[g] = lo
        // From the minimum as it is stored: its rounding is not made up for twice.
        steps[g] = Math.max(0, hi - storedAs(scales, lo)) / top
      })
      return encodeOn(values, shape, steps, minima)
    },
    code: packed.code,
    scale: (part, row, column) => groups.at(part, "scales", row, column),
    min: (part, row, column) => expr.cast(groups.at(part, "mins", row, column), "f32"),
  }
  return {
    ...quantizer(format, {
      laws: ["bound", "outputBound", "nearest", "monotone", "groups", "permutation", "rows", "views", "finite", "overflow", "constant", "ragged", "oneSided", "storage", "anyBytes", "deterministic", "devices", "products"],
      counterexamples: { zero: { values: [-1, 0.71, 0], pick: 1 }, ...(scales !== "f32" && { sign: { values: [0.1, 1] } }), ...(scales === "f16" && { subnormal: { values: [-3.2384811e-8, 0] } }) },
      range: [least * top, most / 2],
      storageBytes: (shape) => packed.bytes(shape) + groups.count(shape) * 2 * bytes,
      // Half a step; what the largest lies beyond a step that was rounded down; what the least lies below a minimum that was rounded up.
      bound: ({ scale, min, value }) => scale * (0.5 + top * unit) + top * tiny + (Math.abs(min) * 2 * unit + tiny) + (Math.abs(value) + Math.abs(min)) * 2 ** -22,
    }),
    encodeOn,
  }
}

function extent(values: Float32Array): readonly [lo: number, hi: number] {
  let lo = Infinity, hi = -Infinity
  for (const v of values) {
    if (v < lo) lo = v
    if (v > hi) hi = v
  }
  return values.length === 0 ? [0, 0] : [lo, hi]
}
