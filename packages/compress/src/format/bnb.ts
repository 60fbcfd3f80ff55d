import { expr, fail, type Part } from "@thimble/core"
import type { Stores } from "@thimble/models"
import { bookCodes, bookOutline, books, type CodedFormat } from "@thimble/formats"
import { quantizer, type MatrixShape, type Promises, type QuantizedFormat, type SolvableFormat } from "../quantizer.ts"
import type { LawName } from "../laws/names.ts"
import { blockwiseCode, dynamicMap, nestAbsmax } from "./dynamic-map.ts"
import { grouping, largest, peakOf } from "./groups.ts"

export interface BnbOptions {
  /** Neighbours along a row that share their largest magnitude; 64 unless given. */
  readonly group?: number
  /** Whether largest magnitudes are stored in f32 (unless given), or in 8 bits, 256 of them sharing an f32. */
  readonly absmax?: "f32" | "nested"
}

const f = Math.fround

/** Values of a codebook in order, the codes they have, and the midpoints between neighbours. */
interface Ordered { readonly codes: Uint8Array; readonly middles: Float32Array }
function ordered(book: Float32Array): Ordered {
  const codes = Uint8Array.from(Array.from(book, (_, i) => i).sort((a, b) => book[a]! - book[b]! || a - b))
  return { codes, middles: Float32Array.from({ length: 15 }, (_, i) => f(f(book[codes[i]!]! + book[codes[i + 1]!]!) / 2)) }
}
/** The code of the nearest value; a midpoint belongs to the value below it. */
function nearestCode({ codes, middles }: Ordered, v: number): number {
  let below = 0
  for (let i = 0; i < 15; i++) below += Number(middles[i]! < v)
  return codes[below]!
}

const nested = 256
const { add, and, cast, div, int, mul, rem, shr, sub } = expr

function codebook(kind: "nf4" | "fp4", { group = 64, absmax = "f32" }: BnbOptions): QuantizedFormat {
  if (absmax !== "f32" && absmax !== "nested") fail("value", kind, `absmax must be f32 or nested, got ${String(absmax)}`)
  const groups = grouping(kind, group), book = books[kind], order = ordered(book), map = dynamicMap()
  const twice = absmax === "nested"
  const bytesOfCodes = ([rows, columns]: readonly [number, number]): number => rows * Math.ceil(columns / 2)
  const codeOf = (v: number, inverse: number): number => nearestCode(order, Math.max(-1, Math.min(1, f(v * inverse))))
  const inverseOf = (amax: number): number => f(1 / Math.max(amax, f(1e-38)))
  /** The high half of a byte is the even element. */
  const pack = (codes: Uint8Array, [rows, columns]: MatrixShape): Part => {
    const width = Math.ceil(columns / 2), data = new Uint8Array(rows * width)
    for (let r = 0, i = 0; r < rows; r++) for (let c = 0; c < columns; c++, i++) data[r * width + (c >> 1)]! |= codes[i]! << (c & 1 ? 0 : 4)
    return { data, shape: [rows, width], dtype: "u8" }
  }
  const format: SolvableFormat & CodedFormat = {
    name: `${kind}${group === 64 ? "" : ` ${groups.suffix}`}${twice ? " nested" : ""}`,
    bits: 4 + groups.bits(twice ? 8 + 32 / nested : 32),
    group: groups.size,
    tables: { values: { data: book, shape: [16], dtype: "f32" }, ...(twice ? { map: { data: map, shape: [256], dtype: "f32" } as Part } : {}) },
    encode(values, shape) {
      const [rows, columns] = shape, codes = new Uint8Array(rows * columns)
      const peaks = new Float32Array(groups.count(shape))
      groups.each(shape, (g, from, to) => {
        const inverse = inverseOf((peaks[g] = largest(kind, values, columns, from, to)))
        for (let i = from; i < to; i++) codes[i] = codeOf(values[i]!, inverse)
      })
      const parts: Record<string, Part> = { codes: pack(codes, shape) }
      if (!twice) return { ...parts, absmax: { data: peaks, shape: groups.shape(shape), dtype: "f32" } }
      const { codes: small, absmax: large, offset } = nestAbsmax(peaks)
      return {
        ...parts,
        absmax: { data: small, shape: groups.shape(shape), dtype: "u8" },
        nested: { data: large, shape: [large.length], dtype: "f32" },
        offset: { data: Float32Array.of(offset), shape: [1], dtype: "f32" },
        // Runs of 256 go on from row to row.
        perRow: { data: Int32Array.of(groups.shape(shape)[1]), shape: [1], dtype: "i32" },
      }
    },
    // Nested largest magnitudes depend on those of other groups.
    ...(!twice && {
      grids: {
        fit: (values) => ({ scale: f(peakOf(values)), zero: 0 }),
        code: (v, scale) => codeOf(v, inverseOf(scale)),
        value: (code, scale) => f(book[code]! * scale),
        pack: (codes, scales, _zeros, shape) => ({ codes: pack(codes, shape), absmax: { data: Float32Array.from(scales), shape: groups.shape(shape), dtype: "f32" } }),
      },
    }),
    outline: bookOutline(kind, groups.size, twice),
    codes: (parts, shape) => bookCodes(kind, groups.size, parts, shape, { map }),
    code: (part, row, column) => part("values", and(shr(cast(part("codes", row, div(column, int(2))), "i32"), mul(sub(int(1), rem(column, int(2))), int(4))), int(15))),
    scale(part, row, column) {
      const stored = groups.at(part, "absmax", row, column)
      if (!twice) return stored
      const run = div(add(mul(row, part("perRow", int(0))), div(column, int(groups.size))), int(nested))
      return add(mul(part("map", cast(stored, "i32")), part("nested", run)), part("offset", int(0)))
    },
  }
  return quantizer(format, {
    laws: twice ? common : [...common, "nearest", "monotone", "rows", "anyBytes", "saturates", "groups", "ragged", "scaling", "idempotent", "onGrid", "extremes"],
    counterexamples: {
      sign: kind === "nf4" ? { values: [1, 0.5] } : { values: [5, 6] },
      translation: { values: [0] },
      ...(twice && nestedBreaks(groups.size)),
    },
    codes: [...book],
    range: [2 ** -100, 2 ** 127],
    storageBytes: (shape) => bytesOfCodes(shape) + (twice ? groups.count(shape) + 4 * Math.ceil(groups.count(shape) / nested) + 8 : 4 * groups.count(shape)),
    bound({ code, scale }, _, { parts, row, column }) {
      const gap = widestGap(order, book, code), slack = 1 + 2 ** -20
      if (!twice) return scale * gap * slack + f(1e-38)
      // Codes were chosen for the largest magnitude before it was rounded itself.
      const [rows, perRow] = parts.absmax!.shape as [number, number], run = Math.floor((row * perRow + Math.floor(column / groups.size)) / nested)
      const off = parts.nested!.data[run]! * blockwiseCode.halfGap(parts.absmax!.data[row * perRow + Math.floor(column / groups.size)]!) * slack + 2 ** -22 * (Math.abs(scale) + Math.abs(parts.offset!.data[0]!))
      return rows === 0 ? 0 : (Math.abs(scale) + off) * gap * slack + off * Math.abs(code) + f(1e-38)
    },
  })
}

/** Half of the wider gap beside a value. */
function widestGap({ codes }: Ordered, book: Float32Array, value: number): number {
  let gap = 0
  for (let i = 1; i < 16; i++) {
    const [a, b] = [book[codes[i - 1]!]!, book[codes[i]!]!]
    if (a === value || b === value) gap = Math.max(gap, (b - a) / 2)
  }
  return gap
}

const common: readonly LawName[] = [
  "bound", "outputBound", "zero", "constant", "permutation", "views", "finite", "subnormal", "overflow", "oneSided", "storage", "deterministic", "devices",
  "products",
]
/**
 * Largest magnitudes that were rounded themselves: a small one may come out below zero and turn its group around; all
 * share their mean; and the count of groups in a row says where to look.
 */
const nestedBreaks = (size: number): Promises["counterexamples"] => {
  const zeros = (n: number): number[] => new Array<number>(n).fill(0), columns = size + 1
  return {
    nearest: { values: [0, 81, ...zeros(size - 2), 1], columns },
    idempotent: { values: [...zeros(size - 1), 1, 1.1], columns },
    monotone: { values: [64, ...zeros(columns - 1), 0.0156, ...zeros(columns - 1), 0], columns },
    groups: { values: [...zeros(size - 1), 2, 2], columns },
    ragged: { values: [3e38, ...zeros(size - 1), 1], columns },
    anyBytes: { values: [1, 1], columns: 1 },
  }
}

/**
 * NF4 of QLoRA, byte for byte as bitsandbytes stores it where rows are whole groups: 16 quantiles of a normal
 * distribution times the largest magnitude of a group. Two codes to a byte, the first of them in its high half.
 */
export const nf4 = (options: BnbOptions = {}): QuantizedFormat & Stores<"nf4"> => codebook("nf4", options)
/** FP4 of bitsandbytes: 0, 1/192, 1/6, 1/4, 1/3, 1/2, 2/3, 1 and their negatives; otherwise as {@link nf4}. */
export const fp4 = (options: BnbOptions = {}): QuantizedFormat & Stores<"fp4"> => codebook("fp4", options)
