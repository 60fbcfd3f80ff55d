import type { DType } from "../dtype.ts"
import type { Shape } from "../shape.ts"
import type { Tensor } from "../tensor.ts"
import { key } from "./key.ts"
import { normal } from "./normal.ts"
import { uniform } from "./uniform.ts"

export interface SeedOptions {
  /** A whole number; equal seeds give equal numbers, on every device. */
  readonly seed: number | bigint
  /** A float type; f32 unless given. */
  readonly dtype?: DType
}
/** Standard normal numbers from a seed: `normal(key(seed), shape)`. */
export const randn = (shape: Shape, { seed, dtype = "f32" }: SeedOptions): Tensor => normal(key(seed), shape, { dtype })
/** Uniform numbers in [0, 1) from a seed: `uniform(key(seed), shape)`. */
export const rand = (shape: Shape, { seed, dtype = "f32" }: SeedOptions): Tensor => uniform(key(seed), shape, { dtype })
