import { decode, type TypedArray } from "../dtype.ts"
import { sizeOf, type Shape } from "../shape.ts"
import type { Host } from "../tensor.ts"

// For routines: host code that walks along one axis.

/** Calls `fn` for every line of elements along an axis: the position of its first element, and the distance to the next. */
export function eachLine(shape: Shape, axis: number, fn: (start: number, step: number) => void): void {
  const step = sizeOf(shape.slice(axis + 1)), block = step * shape[axis]!
  const outer = sizeOf(shape.slice(0, axis))
  for (let o = 0; o < outer; o++) for (let i = 0; i < step; i++) fn(o * block + i, step)
}

/** The numbers that stored elements stand for. */
export const numbersOf = ({ data, dtype }: Host): TypedArray =>
  dtype === "f16" || dtype === "bf16" ? Float32Array.from(data, (bits) => decode(dtype, bits)) : data
