import { expr, fail, roundHalfEven, type Format } from "@thimble/core"
import { quantizer, type QuantizedFormat } from "../quantizer.ts"
import type { LawName } from "../laws/names.ts"
import { grouping, largest, newScales, precision, type GroupOptions, type Grouping, type ScaleType } from "./groups.ts"
import { packing } from "./packing.ts"

/** Codes that are few, and a scale that is the mean magnitude of a group. */
interface Few { readonly name: string; readonly bits: 1 | 2; readonly codes: readonly number[]; round(v: number): number; code(q: number): number }

const common: readonly LawName[] = [
  "bound", "outputBound", "nearest", "monotone", "rows", "views", "finite", "subnormal", "overflow", "oneSided", "storage", "anyBytes",
  "deterministic", "devices", "products", "permutation", "ragged", "constant", "scaling",
]

function few(kind: Few, groups: Grouping, scales: ScaleType): QuantizedFormat {
  if (!(scales in precision)) fail("dtype", kind.name, `scales must be f32, f16 or bf16, got ${String(scales)}`)
  const packed = packing(kind.bits), { unit, tiny, least, most } = precision[scales], bytes = scales === "f32" ? 4 : 2
  const tensor = groups.suffix === "t"
  const format: Format = {
    name: `${kind.name}${groups.suffix}${scales === "f16" ? "" : ` ${scales}`}`, bits: kind.bits + groups.bits(8 * bytes), group: groups.size,
    encode(values, shape) {
      const [rows, columns] = shape, codes = new Uint8Array(rows * columns), found = newScales(kind.name, scales, groups.shape(shape))
      groups.each(shape, (g, from, to) => {
        largest(kind.name, values, columns, from, to)
        let sum = 0
        for (let i = from; i < to; i++) sum += Math.abs(values[i]!)
        const scale = found.put(g, from === to ? 0 : sum / (to - from), 1)
        for (let i = from; i < to; i++) codes[i] = kind.code(scale === 0 ? 0 : kind.round(values[i]! / scale))
      })
      return { ...packed.pack(codes, shape), scales: found.part }
    },
    code: (part, row, column) => {
      const code = packed.code(part, row, column)
      return kind.bits === 1 ? expr.mul(code, expr.int(2)) : code
    },
    zero: () => expr.int(1),
    scale: (part, row, column) => groups.at(part, "scales", row, column),
  }
  return quantizer(format, {
    laws: [...common, ...(kind.bits === 2 ? ["zero", "sign"] as const : ["idempotent"] as const), ...(tensor ? [] : ["groups"] as const), ...(scales === "f16" ? [] : ["saturates"] as const)],
    counterexamples: {
      translation: { values: [0] },
      ...(scales === "f16" && { saturates: { values: [] } }),
      ...(kind.bits === 2 ? { idempotent: { values: [0, 1] } } : { zero: { values: [0, 2], pick: 1 }, sign: { values: [0, 1] } }),
      ...(tensor && { groups: { values: [0, 2], columns: 1 } }),
    },
    codes: kind.codes,
    range: [2 * least, most],
    storageBytes: (shape) => packed.bytes(shape) + groups.count(shape) * bytes,
    bound({ scale }, x, { columns }) {
      // No element is larger than all magnitudes together, which are the mean times their number.
      const n = tensor ? Infinity : Math.min(groups.size, columns)
      const beyond = x === undefined ? n * (scale * (1 + unit) + tiny) - scale : Math.abs(x) - scale
      return Math.max(scale * (kind.bits === 1 ? 1 : 0.5), beyond) * (1 + 2 ** -22) + tiny
    },
  })
}

/**
 * −1, 0 or 1 times the mean magnitude of a group, in two bits: what BitNet b1.58 trains its weights to be (arXiv
 * 2402.17764). The elements of trained ternary weights are far from the ends of their range; those of others clip.
 */
export const ternary = ({ group = "row", scales = "f16" }: GroupOptions = {}): QuantizedFormat =>
  few({ name: "ternary", bits: 2, codes: [0, 1, 2], round: (v) => Math.max(-1, Math.min(1, roundHalfEven(v))), code: (q) => q + 1 }, grouping("ternary", group), scales)

/** Signs times the mean magnitude of a group, one bit each (XNOR-Net, arXiv 1603.05279). Zero counts as positive. */
export const binary = ({ group = "row", scales = "f16" }: GroupOptions = {}): QuantizedFormat =>
  few({ name: "binary", bits: 1, codes: [0, 2], round: (v) => (v < 0 ? -1 : 1), code: (q) => Number(q >= 0) }, grouping("binary", group), scales)
