import type { Part } from "./metric.ts"

export const sum = (x: ArrayLike<number>): number => {
  let total = 0
  for (let i = 0; i < x.length; i++) total += x[i]!
  return total
}

/** Mean of independent values and its standard error, √(Σ(x − mean)² / (n·(n − 1))); 0 for fewer than two. */
export function meanOf(x: ArrayLike<number>): { readonly mean: number; readonly standardError: number } {
  const n = x.length, mean = sum(x) / n
  let squares = 0
  for (let i = 0; i < n; i++) squares += (x[i]! - mean) ** 2
  return { mean, standardError: n > 1 ? Math.sqrt(squares / (n * (n - 1))) : 0 }
}

/**
 * Mean of what the parts are made of, Σ sum / Σ count, and its standard error from how parts differ: what is in one part
 * may depend on each other. (Ratio estimator; Cochran, Sampling Techniques, 1977, §6.4.)
 */
export function meanOfParts(parts: readonly Part[]): { readonly mean: number; readonly standardError: number } {
  const n = parts.length, count = parts.reduce((s, p) => s + p.count, 0)
  const mean = parts.reduce((s, p) => s + p.sum, 0) / count
  const squares = parts.reduce((s, p) => s + (p.sum - mean * p.count) ** 2, 0)
  return { mean, standardError: n > 1 ? Math.sqrt((squares * n) / (n - 1)) / count : 0 }
}

/** How values are spread: smallest and largest, and the values that the given shares of all lie below. */
export interface Spread {
  readonly min: number
  readonly p1: number
  readonly p5: number
  readonly p10: number
  readonly median: number
  readonly p90: number
  readonly p95: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}
/** Percentiles lie between two neighbours in proportion. */
export function spreadOf(values: Float64Array): Spread {
  const x = values.slice().sort()
  const at = (share: number): number => {
    const place = share * (x.length - 1), below = Math.floor(place), above = Math.min(below + 1, x.length - 1)
    return x[below]! + (place - below) * (x[above]! - x[below]!)
  }
  return { min: at(0), p1: at(0.01), p5: at(0.05), p10: at(0.1), median: at(0.5), p90: at(0.9), p95: at(0.95), p99: at(0.99), p999: at(0.999), max: at(1) }
}
