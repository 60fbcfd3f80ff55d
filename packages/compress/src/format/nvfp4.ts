import { expr, type Format } from "@thimble/core"
import type { Stores } from "@thimble/models"
import { quantizer, type QuantizedFormat } from "../quantizer.ts"
import { grouping, largest } from "./groups.ts"
import { packing } from "./packing.ts"
import { halfSpacing, inUnits, smallBits, smallFloats, smallValues, spelled } from "./small-float.ts"

/** Neighbours that share a scale. */
const group = 16
const e4m3 = smallFloats.e4m3.most, e2m1 = smallFloats.e2m1.most, powers = smallValues("e4m3")

/**
 * NVFP4: E2M1 elements, an E4M3 scale per 16 neighbours of a row, and one f32 for the whole matrix, which takes the largest
 * of those scales to 448: ŵ = q · (s · S). (ggml's NVFP4, in `ggml`, has no scale of the matrix.)
 */
export function nvfp4(): QuantizedFormat & Stores<"nvfp4"> {
  const groups = grouping("nvfp4", group), packed = packing(4), { tables, unit, look } = spelled("e2m1")
  const format: Format = {
    name: "nvfp4", bits: 4 + groups.bits(8), group,
    tables: { ...tables, powers: { data: powers, shape: [powers.length], dtype: "f32" } },
    encode(values, shape) {
      const [rows, columns] = shape, codes = new Uint8Array(rows * columns), scales = new Uint8Array(groups.count(shape))
      const all = Math.fround(largest("nvfp4", values, columns, 0, values.length) / (e4m3 * e2m1))
      groups.each(shape, (g, from, to) => {
        if (all === 0) return
        scales[g] = smallBits("e4m3", largest("nvfp4", values, columns, from, to) / e2m1 / all)
        const scale = Math.fround(powers[scales[g]!]! * all)
        for (let i = from; i < to; i++) codes[i] = scale === 0 ? 0 : smallBits("e2m1", values[i]! / scale)
      })
      return { ...packed.pack(codes, shape), scales: { data: scales, shape: groups.shape(shape), dtype: "u8" }, global: { data: Float32Array.of(all), shape: [1], dtype: "f32" } }
    },
    code: (part, row, column) => look(part, packed.code(part, row, column)),
    scale: (part, row, column) => inUnits(expr.mul(part("powers", expr.cast(groups.at(part, "scales", row, column), "i32")), part("global", expr.int(0))), unit),
  }
  return quantizer(format, {
    laws: [
      "bound", "outputBound", "nearest", "zero", "sign", "scaling", "monotone", "permutation", "rows", "views", "finite", "subnormal", "overflow",
      "oneSided", "storage", "anyBytes", "deterministic", "devices", "products", "constant", "saturates",
    ],
    // The largest magnitude of the matrix has a say in every scale.
    counterexamples: {
      translation: { values: [0] },
      groups: { values: [...new Array<number>(16).fill(0), 0.31] },
      ragged: { values: [1e9, ...new Array<number>(15).fill(0), 1] },
      onGrid: { values: [1.983268141746521] },
      idempotent: { values: [114712.9296875] },
    },
    codes: [...tables.values!.data],
    range: [2 ** -100, 2 ** 127],
    storageBytes: (shape) => packed.bytes(shape) + groups.count(shape) + 4,
    bound({ code, scale }, _, { parts: { global } }) {
      const all = global!.data[0]!, s = scale / unit, v = Math.abs(code * unit), near = halfSpacing("e2m1", v) * s
      // A scale rounds down by a 16th of itself, or by half of the smallest E4M3, and the largest value with it.
      const down = Math.max(s * 2 ** -4, all * 2 ** -10), beyond = v < e2m1 && s > 0 ? 0 : e2m1 * down * (1 + 2 ** -20)
      return Math.max(near, beyond) * (1 + 2 ** -20) + e4m3 * e2m1 * 2 ** -149
    },
  })
}
