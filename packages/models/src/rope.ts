import type { RopeConfig } from "./config.ts"

/** The angle per position of each pair of features, and the factor of what is turned. */
export interface Frequencies { readonly rates: readonly number[]; readonly magnitude: number }

/** Of a model asked for `length` positions. */
export function frequencies({ base, features, scaling }: RopeConfig, length: number): Frequencies {
  const pairs = features / 2
  const plain = Array.from({ length: pairs }, (_, i) => base ** (-i / pairs))
  const from = (rates: readonly number[], magnitude = 1): Frequencies => ({ rates, magnitude })
  if (scaling === undefined) return from(plain)
  switch (scaling.kind) {
    case "linear": return from(plain.map((f) => f / scaling.factor))
    case "llama3": return from(plain.map((f) => f / llama3Factor(f, scaling)))
    case "longrope": {
      const factors = length > scaling.original ? scaling.long : scaling.short
      return from(plain.map((f, i) => f / factors[i]!), scaling.magnitude)
    }
    case "yarn": {
      // Pairs that turn more than `fast` times within the original context stay as they are, those that turn less than `slow` times are stretched.
      const turning = (turns: number): number => (features * Math.log(scaling.original / (turns * 2 * Math.PI))) / (2 * Math.log(base))
      const low = Math.max(Math.floor(turning(scaling.fast)), 0), high = Math.min(Math.ceil(turning(scaling.slow)), features - 1)
      const span = high === low ? 0.001 : high - low
      return from(plain.map((f, i) => {
        const stretched = Math.min(Math.max((i - low) / span, 0), 1)
        return (f / scaling.factor) * stretched + f * (1 - stretched)
      }), scaling.magnitude)
    }
  }
}

/** By how much Llama 3.1 divides an angle per position. */
export function llama3Factor(rate: number, { factor, low, high, original }: { readonly factor: number; readonly low: number; readonly high: number; readonly original: number }): number {
  const wavelength = (2 * Math.PI) / rate
  if (wavelength < original / high) return 1
  if (wavelength > original / low) return factor
  const t = (original / wavelength - low) / (high - low)
  return 1 / ((1 - t) / factor + t)
}

/** Whether factors are the same for every length, as those of Llama 3 are. */
export const isPlainFactors = ({ short, long, magnitude }: { readonly short: readonly number[]; readonly long: readonly number[]; readonly magnitude: number }): boolean =>
  magnitude === 1 && String(short) === String(long)
