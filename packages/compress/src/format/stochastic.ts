import { fail } from "@thimble/core"
import { quantizer, type QuantizedFormat } from "../quantizer.ts"
import { largest, precision } from "./groups.ts"
import type { IntegerFormat } from "./integers.ts"

export interface StochasticOptions {
  /** Where chance comes from; 0 unless given. The same seed gives the same bytes. */
  readonly seed?: number
}

/** A number in [0, 1) of a seed and a place, whatever was asked before: a 32-bit integer hash (lowbias32, Wellons 2018) of their combination. */
function chance(seed: number, row: number, column: number): number {
  let h = Math.imul(seed, 0x9e3779b1) ^ Math.imul(row, 0x85ebca6b) ^ Math.imul(column + 1, 0xc2b2ae35)
  for (let i = 0; i < 2; i++) {
    h = Math.imul(h ^ (h >>> 16), 0x21f0aaad)
    h = Math.imul(h ^ (h >>> 15), 0x735a2d97)
    h ^= h >>> 15
  }
  return (h >>> 0) / 2 ** 32
}

/**
 * The integers of a format, with values rounded up or down by chance, up the more likely the nearer it is: the mean over seeds is
 * the value itself, for those that the codes reach. Chance is a function of the seed and of the place in the matrix. Formats
 * with one scale for a whole matrix are refused.
 */
export function stochastic(format: IntegerFormat, { seed = 0 }: StochasticOptions = {}): QuantizedFormat {
  const { integers, grids, plain: _, laws: __, counterexamples: ___, ...base } = format
  if (grids === undefined) return fail("value", "stochastic", `${format.name} has one scale for a whole matrix`, "groups, or a scale per row")
  if (!Number.isInteger(seed)) fail("value", "stochastic", `the seed must be a whole number, got ${seed}`)
  const { low, high, scales, zeros, groups } = integers, reach = Math.max(high, -low), { unit, tiny } = precision[scales]
  // Symmetric codes of 8 bits are stored signed, others from 2ᵇ⁻¹ on.
  const first = high === 127 ? 0 : high + 1
  return {
    ...quantizer({
      ...base,
      name: `${format.name} stochastic${seed === 0 ? "" : ` ${seed}`}`,
      encode(values, shape) {
        const [rows, columns] = shape, codes = new Uint8Array(rows * columns), found = new Float64Array(groups.count(shape)), points = new Uint8Array(groups.count(shape))
        groups.each(shape, (g, from, to) => {
          largest("stochastic", values, columns, from, to)
          const { scale, zero } = grids.fit(Float64Array.from(values.subarray(from, to))), offset = zeros ? 0 : zero
          found[g] = scale
          points[g] = zero
          for (let i = from; i < to; i++) {
            const q = scale === 0 ? zero : Math.floor(values[i]! / scale + chance(seed, Math.floor(i / columns), i % columns)) + zero
            codes[i] = Math.max(low + offset, Math.min(high + offset, q))
          }
        })
        return grids.pack(codes, found, points, shape)
      },
    }, {
      laws: ["bound", "outputBound", "unbiased", "zero", "scaling", "groups", "views", "finite", "subnormal", "overflow", "oneSided", "storage", "anyBytes", "deterministic", "devices", "products"],
      // Of so many values one goes the longer way, whatever the seed.
      counterexamples: { nearest: { values: Array.from({ length: 24 }, (_, i) => Math.sin(i)) }, translation: { values: [0] } },
      codes: Array.from({ length: high - low + 1 }, (_, i) => low + i + (zeros ? 0 : first)),
      ...(format.range && { range: format.range }),
      storageBytes: format.storageBytes,
      // A whole step, and what the largest value lies beyond a scale that was rounded down.
      bound: ({ scale, value }) => Math.abs(scale) * (1 + reach * unit) + 2 * reach * tiny + Math.abs(value) * 2 ** -23,
    }),
    again: (other) => stochastic(format, { seed: other }),
  }
}
