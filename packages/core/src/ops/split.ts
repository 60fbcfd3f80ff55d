import { fail } from "../errors.ts"
import { axisOf } from "../shape.ts"
import type { Tensor } from "../tensor.ts"
import { narrow } from "./movement.ts"

/** Parts of the given sizes along an axis; the sizes must add up to it. */
export function splitSizes(x: Tensor, sizes: readonly number[], axis = 0): Tensor[] {
  const a = axisOf("splitSizes", axis, x.rank), n = x.shape[a]!
  const total = sizes.reduce((s, m) => s + m, 0)
  if (total !== n || sizes.some((m) => !Number.isInteger(m) || m < 0)) fail("shape", "splitSizes", `sizes [${sizes.join(", ")}] must be whole and add up to axis ${axis} (${total} ≠ ${n})`)
  let at = 0
  return sizes.map((m) => narrow(x, a, (at += m) - m, m))
}
/** Parts of `size` along an axis; the last one is smaller if the size does not divide. */
export function split(x: Tensor, size: number, axis = 0): Tensor[] {
  const n = x.shape[axisOf("split", axis, x.rank)]!
  if (!Number.isInteger(size) || size < 1) fail("value", "split", `the size must be a whole number ≥ 1, got ${size}`)
  const count = Math.max(1, Math.ceil(n / size))
  return splitSizes(x, Array.from({ length: count }, (_, i) => Math.min(size, n - i * size)), axis)
}
/** At most `count` parts of equal size along an axis; the last one may be smaller, as in torch. */
export function chunk(x: Tensor, count: number, axis = 0): Tensor[] {
  const n = x.shape[axisOf("chunk", axis, x.rank)]!
  if (!Number.isInteger(count) || count < 1) fail("value", "chunk", `the count must be a whole number ≥ 1, got ${count}`)
  return n === 0 ? splitSizes(x, new Array<number>(count).fill(0), axis) : split(x, Math.ceil(n / count), axis)
}
