import { expr, f16Bits, f16Value, fail, type Format } from "@thimble/core"
import type { Stores } from "@thimble/models"
import { needsValues, quantizer, type QuantizedFormat } from "../quantizer.ts"
import { nearestClusters } from "./clusters.ts"
import { grouping, largest } from "./groups.ts"
import { packing, type Bits } from "./packing.ts"

export interface CodebookOptions {
  /** Neighbours along a row that share a codebook; 256 unless given. */
  readonly group?: number
}

/**
 * A codebook of 2ᵇ values in f16 for each group of a row: those whose squared error, weighted by the importance of
 * columns if it is known, is least (k-means in one dimension, solved exactly). Source: Wang and Song, Ckmeans.1d.dp.
 */
export function codebook(bits: Exclude<Bits, 7 | 8>, { group = 256 }: CodebookOptions = {}): QuantizedFormat & Stores<"codebook"> {
  if (!Number.isInteger(bits) || bits < 1 || bits > 6) fail("value", "codebook", `bits must be a whole number from 1 to 6, got ${bits}`)
  const groups = grouping("codebook", group), packed = packing(bits), size = 2 ** bits
  const format: Format = {
    name: `codebook${bits}${groups.suffix}`, bits: bits + groups.bits(16 * size), group: groups.size,
    encode(values, shape, { importance } = {}) {
      const [rows, columns] = shape, codes = new Uint8Array(rows * columns)
      const books = new Uint16Array(groups.count(shape) * size), [, perRow] = groups.shape(shape)
      groups.each(shape, (g, from, to) => {
        if (largest("codebook", values, columns, from, to) >= 65520) fail("value", "codebook", `group ${g % perRow} of row ${Math.floor(g / perRow)} reaches beyond f16`, "scale the weights down")
        const weights = importance?.subarray(from % columns, (from % columns) + to - from)
        const book = nearestClusters(values.subarray(from, to), size, weights).map((v) => f16Value(f16Bits(v)))
        book.forEach((v, i) => (books[g * size + i] = f16Bits(v)))
        for (let i = from; i < to; i++) codes[i] = nearest(book, values[i]!)
      })
      return { ...packed.pack(codes, shape), codebook: { data: books, shape: [rows, perRow * size], dtype: "f16" } }
    },
    code(part, row, column) {
      const g = groups.size === Infinity ? expr.int(0) : expr.div(column, expr.int(groups.size))
      return part("codebook", row, expr.add(expr.mul(g, expr.int(size)), packed.code(part, row, column)))
    },
    scale: () => expr.constant("f32", 1),
  }
  return quantizer(format, {
    laws: [
      "bound", "outputBound", "nearest", "monotone", "groups", "permutation", "rows", "views", "finite", "subnormal", "overflow", "ragged", "oneSided",
      "storage", "anyBytes", "deterministic", "devices", "products", "constant", "idempotent", "translation",
    ],
    // Halfway between two values of the book, the lower one is nearer; and f16 has fewer bits below 2⁻¹⁴.
    counterexamples: {
      saturates: { values: [] }, scaling: { values: [3.5e-6, 1] },
      ...(bits === 2 && { zero: { values: [0.25, 2, 0, -1, 1], pick: 1 }, sign: { values: [-10, -15, 10, 14, 5, -10, 9] } }),
    },
    range: [2 ** -14, 65504],
    storageBytes: (shape) => packed.bytes(shape) + groups.count(shape) * size * 2,
    levels({ parts, row, column, columns }) {
      const g = groups.size === Infinity ? 0 : Math.floor(column / groups.size), from = (row * Math.ceil(columns / Math.min(groups.size, Math.max(columns, 1))) + g) * size
      return Array.from(parts.codebook!.data.subarray(from, from + size), f16Value)
    },
    // No single element is off by more than the root of all squares, which are at most those of evenly spaced values.
    bound(_, x, { values, row, column, columns }) {
      if (x === undefined || values === undefined) return needsValues("codebook")
      const n = Math.min(groups.size, columns), from = row * columns + Math.floor(column / n) * n
      const own = values.subarray(from, Math.min(from + n, (row + 1) * columns))
      const even = (Math.sqrt(own.length) * (Math.max(...own) - Math.min(...own))) / (2 * (size - 1))
      return (even * (1 + 2 ** -10) + Math.abs(x) * 2 ** -11) * (1 + 2 ** -20) + 2 ** -25
    },
  })
}

function nearest(book: readonly number[], v: number): number {
  let best = 0
  for (let i = 1; i < book.length; i++) if (Math.abs(v - book[i]!) < Math.abs(v - book[best]!)) best = i
  return best
}
