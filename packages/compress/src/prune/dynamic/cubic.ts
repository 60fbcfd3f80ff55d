import { fail } from "@thimble/core"

export interface CubicOptions {
  /** The share that has gone before; 0 unless given. */
  readonly from?: number
  /** The share that has gone at the end. */
  readonly to: number
  /** The first step at which weights go; 0 unless given. */
  readonly begin?: number
  /** Steps from there to the end. */
  readonly steps: number
}

/**
 * How much has gone at a step of training: much at first, when there is much to choose from, less and less after that (Zhu and Gupta,
 * arXiv 1710.01878, equation 1).
 */
export function cubicSchedule({ from = 0, to, begin = 0, steps }: CubicOptions): (step: number) => number {
  if (!(from >= 0 && to >= from && to <= 1)) fail("value", "cubicSchedule", `shares go from 0 up to 1, got ${from} to ${to}`)
  if (!(Number.isInteger(begin) && begin >= 0 && Number.isInteger(steps) && steps >= 1)) fail("value", "cubicSchedule", `${steps} steps from ${begin} on are none`)
  return (step) => to + (from - to) * (1 - Math.min(1, Math.max(0, (step - begin) / steps))) ** 3
}
