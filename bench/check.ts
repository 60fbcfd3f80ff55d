import type { Expected } from "./work.ts"

/** The part of a result that is compared, small enough to hand between processes. */
export interface Sample {
  size: number
  values: Float32Array
  finite: boolean
}

export const sample = (result: Float32Array, at: Uint32Array): Sample => ({
  size: result.length,
  values: Float32Array.from(at, (index) => result[index]),
  finite: result.every(Number.isFinite),
})

/** What is wrong with a result, or undefined. */
export function fault(got: Sample, expected: Expected, tolerance: number): string | undefined {
  if (got.size !== expected.size) return `result has ${got.size} elements, expected ${expected.size}`
  if (!got.finite) return "result is not finite"
  const worst = expected.values.reduce((most, value, i) => Math.max(most, Math.abs(got.values[i] - value)), 0)
  const error = worst / expected.scale
  return error <= tolerance ? undefined : `wrong result: off by ${error.toExponential(1)}, ${tolerance} allowed`
}
