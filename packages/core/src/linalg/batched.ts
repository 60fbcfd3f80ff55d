import { fail } from "../errors.ts"
import { MatrixFailure } from "./failure.ts"
import type { Floats } from "./input.ts"

/**
 * Runs a single-matrix routine on each of `count` matrices that stand one behind another in every source, and joins
 * the results in the same way.
 *
 * `sizes` names the results and the elements each has per matrix; `one` fills an object of that shape (a number serves
 * for size 1). A failure of one matrix is thrown with its position in the batch.
 *
 * @example batched(batch, [a], { values: n, vectors: n * n }, (a) => eigh(a, n))
 */
export function batched<K extends string>(
  count: number,
  sources: readonly Floats[],
  sizes: Record<K, number>,
  one: (...matrices: Floats[]) => { readonly [key in NoInfer<K>]: ArrayLike<number> | number },
): Record<K, Float64Array> {
  const names = Object.keys(sizes) as K[]
  const out = {} as Record<K, Float64Array>
  for (const name of names) out[name] = new Float64Array(count * sizes[name])
  const strides = sources.map((source) => (count === 0 ? 0 : source.length / count))
  for (const [i, stride] of strides.entries())
    if (!Number.isInteger(stride)) fail("shape", "batched", `${sources[i]!.length} elements are not ${count} matrices of one size`)
  for (let b = 0; b < count; b++) {
    const matrices = sources.map((source, i) => source.subarray(b * strides[i]!, (b + 1) * strides[i]!))
    try {
      const result = one(...matrices)
      for (const name of names) {
        const value = result[name]
        out[name].set(typeof value === "number" ? [value] : value, b * sizes[name])
      }
    } catch (error) {
      throw error instanceof MatrixFailure ? error.inMatrix(b, count) : error
    }
  }
  return out
}
