const number = new Float64Array(1)
const words = new Uint32Array(number.buffer)
number[0] = 1
/** The word that holds sign and exponent. */
const high = words[1] === 0 ? 0 : 1

/** The e with 2^e ≤ |x| < 2^(e+1), for finite x ≠ 0. */
export function exponentOf(x: number): number {
  number[0] = x
  const e = (words[high]! >>> 20) & 0x7ff
  return e === 0 ? exponentOf(x * 2 ** 54) - 54 : e - 1023
}

/** x · 2^e in two exact halves: 2^e alone may lie outside the range of a double. */
export function shift(x: number, e: number): number {
  const half = Math.trunc(e / 2)
  return x * 2 ** half * 2 ** (e - half)
}

/** Shifts every element by 2^e, in place. */
export function shiftAll(data: Float64Array, e: number): void {
  if (e === 0) return
  for (let i = 0; i < data.length; i++) data[i] = shift(data[i]!, e)
}

/**
 * Scales by the power of two that brings the largest magnitude into [1, 2), in place, and returns its exponent.
 * Squares can then neither overflow nor lose the largest elements; the scaling itself is exact.
 */
export function normalise(data: Float64Array): number {
  let largest = 0
  for (let i = 0; i < data.length; i++) largest = Math.max(largest, Math.abs(data[i]!))
  if (largest === 0) return 0
  const e = exponentOf(largest)
  shiftAll(data, -e)
  return e
}
