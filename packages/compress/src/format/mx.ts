import { expr, fail, roundHalfEven, type Expr, type Format, type PartReader } from "@thimble/core"
import type { Stores } from "@thimble/models"
import type { CodedFormat } from "@thimble/formats"
import { quantizer, type QuantizedFormat, type SolvableFormat } from "../quantizer.ts"
import type { LawName } from "../laws/names.ts"
import { grouping, largest, peakOf } from "./groups.ts"
import { packing, type Bits } from "./packing.ts"
import { bitsOf, exponentOf, halfSpacing, inUnits, powerOfTwo, smallBits, smallFloats, smallValues, spelled, type SmallFloat } from "./small-float.ts"

const { cast, int, select } = expr

export interface MxOptions {
  /** Neighbours along a row that share a scale; 32 unless given, as the standard has it. */
  readonly group?: number
}

/** What elements of a microscaled format are. */
interface Elements {
  readonly bits: Bits
  /** Exponent of the largest element, and what a group may hold beyond it at most. */
  readonly top: number
  readonly most: number
  readonly beyond: number
  encode(v: number): number
  decode(code: number): number
  half(value: number): number
  readonly tables?: Format["tables"]
  /** An element counts so many units. */
  readonly unit: number
  code(part: PartReader, code: Expr): Expr
}

function floats(kind: SmallFloat): Elements {
  const { most } = smallFloats[kind], top = exponentOf(most), { tables, unit, look } = spelled(kind), levels = smallValues(kind)
  return { bits: bitsOf(kind), top, most, beyond: 2 ** (top + 1) - most, encode: (v) => smallBits(kind, v), decode: (code) => levels[code]!, half: (v) => halfSpacing(kind, v), tables, unit, code: look }
}
/** Two's complement with six bits after the point, ±127/64 at most. */
const bytes: Elements = {
  bits: 8, top: 0, most: 127 / 64, beyond: 1 / 64, unit: 1 / 64, half: () => 1 / 128,
  encode: (v) => Math.max(-127, Math.min(127, roundHalfEven(v * 64))) & 255,
  decode: (code) => ((code << 24) >> 24) / 64,
  code: (_, code) => expr.sub(code, select(expr.lt(code, int(128)), int(0), int(256))),
}

const laws: readonly LawName[] = [
  "bound", "outputBound", "nearest", "idempotent", "onGrid", "zero", "sign", "scaling", "monotone", "groups", "permutation", "rows", "views", "finite",
  "subnormal", "overflow", "ragged", "oneSided", "storage", "anyBytes", "deterministic", "devices", "products",
]

/**
 * Microscaling: a group shares a power of two, 2^(⌊log₂ amax⌋ − exponent of the largest element), stored in a byte
 * (E8M0); elements are small floats or bytes, rounded to the nearest (halves to even). What the power of two leaves beyond
 * the largest element becomes it. Source: OCP microscaling formats 1.0, section 6.3.
 */
export function mx<K extends SmallFloat | "int8">(element: K, { group = 32 }: MxOptions = {}): QuantizedFormat & Stores<`mx ${K}`> {
  if (element !== "int8" && !Object.hasOwn(smallFloats, element)) fail("value", "mx", `no element is called '${String(element)}'`, `int8, ${Object.keys(smallFloats).join(", ")}`)
  const groups = grouping("mx", group), own = element === "int8" ? bytes : floats(element), packed = packing(own.bits)
  const coded: Pick<CodedFormat, "outline" | "codes"> = {
    outline: (shape) => (shape[1] % 32 === 0 ? { kind: "micro", shape, divided: false } : undefined),
    codes: (parts, shape) => ({ kind: "micro", shape, codes: packed.unpack(parts, shape), scales: parts.exponents!.data as Uint8Array }),
  }
  // What lies below the least power of two takes it.
  const exponentFor = (amax: number): number => (amax === 0 ? 0 : Math.max(0, exponentOf(amax) - own.top + 127))
  const format: SolvableFormat = {
    ...(element === "e2m1" && group === 32 ? coded : {}),
    name: `mx ${element}${group === 32 ? "" : ` ${groups.suffix}`}`,
    bits: own.bits + groups.bits(8),
    group: groups.size,
    ...(own.tables && { tables: own.tables }),
    encode(values, shape) {
      const [rows, columns] = shape, codes = new Uint8Array(rows * columns), exponents = new Uint8Array(groups.count(shape))
      groups.each(shape, (g, from, to) => {
        const e = exponentFor(largest("mx", values, columns, from, to))
        exponents[g] = e
        for (let i = from; i < to; i++) codes[i] = own.encode(values[i]! * 2 ** (127 - e))
      })
      return { ...packed.pack(codes, shape), exponents: { data: exponents, shape: groups.shape(shape), dtype: "u8" } }
    },
    grids: {
      fit: (values) => ({ scale: 2 ** (exponentFor(peakOf(values)) - 127), zero: 0 }),
      code: (v, scale) => own.encode(v / scale),
      value: (code, scale) => own.decode(code) * scale,
      pack: (codes, scales, _zeros, shape) => ({ ...packed.pack(codes, shape), exponents: { data: Uint8Array.from(scales, (s) => Math.log2(s) + 127), shape: groups.shape(shape), dtype: "u8" } }),
    },
    code: (part, row, column) => own.code(part, packed.code(part, row, column)),
    scale: (part, row, column) => inUnits(powerOfTwo(cast(groups.at(part, "exponents", row, column), "i32")), own.unit),
  }
  return quantizer(format, {
    laws,
    counterexamples: { extremes: { values: [1] }, constant: { values: [1.0078125] }, translation: { values: [0] }, saturates: { values: [] } },
    range: [2 ** (-126 + own.top), 2 ** 127],
    ...(element === "int8" ? { codes: Array.from({ length: 255 }, (_, i) => i - 127) } : {}),
    storageBytes: (shape) => packed.bytes(shape) + groups.count(shape),
    bound: ({ code, scale }) => (scale / own.unit) * Math.max(own.half(code * own.unit), Math.abs(code * own.unit) < own.most ? 0 : own.beyond),
  })
}
