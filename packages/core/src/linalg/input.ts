import { fail } from "../errors.ts"
import { NonFinite } from "./failure.ts"

/** What every routine takes: the elements of a row-major matrix. Results are always float64. */
export type Floats = Float32Array | Float64Array

/** Refuses a wrong number of elements, NaN and infinities. */
export function check(op: string, a: Floats, rows: number, columns: number): void {
  if (a.length !== rows * columns)
    fail("shape", op, `${a.length} elements do not make a matrix of ${rows} × ${columns} (${rows * columns} elements)`)
  for (let i = 0; i < a.length; i++) if (a[i]! - a[i]! !== 0) throw new NonFinite(op, i, a[i]!)
}

/** The same numbers in float64, for reading only: a float64 array is not copied. */
export const asFloat64 = (a: Floats): Float64Array => (a instanceof Float64Array ? a : new Float64Array(a))

/** A checked float64 copy of a rows×columns matrix, free to overwrite. */
export function take(op: string, a: Floats, rows: number, columns: number): Float64Array {
  check(op, a, rows, columns)
  return new Float64Array(a)
}
