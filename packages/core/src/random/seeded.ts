import type { DType } from "../dtype.ts"
import type { Shape } from "../shape.ts"
import type { Tensor } from "../tensor.ts"
import { fail } from "../errors.ts"
import { key, type Key } from "./key.ts"
import { normal } from "./normal.ts"
import { uniform } from "./uniform.ts"

export interface SeedOptions {
  /** A whole number; equal seeds give equal numbers, on every device. */
  readonly seed: number | bigint
  /** A float type; f32 unless given. */
  readonly dtype?: DType
}
/** The key of a seed that must be there: numbers that nobody can get again are no use. */
function keyOf(op: string, options: Partial<SeedOptions> | undefined): Key {
  return key(options?.seed ?? fail("value", op, "needs a seed", `${op}(shape, { seed: 0 })`))
}
/** Standard normal numbers from a seed: `normal(key(seed), shape)`. */
export const randn = (shape: Shape, options: SeedOptions): Tensor => normal(keyOf("randn", options), shape, { dtype: options.dtype ?? "f32" })
/** Uniform numbers in [0, 1) from a seed: `uniform(key(seed), shape)`. */
export const rand = (shape: Shape, options: SeedOptions): Tensor => uniform(keyOf("rand", options), shape, { dtype: options.dtype ?? "f32" })
