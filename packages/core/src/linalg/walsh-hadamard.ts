import { hadamardFactors, paleyMatrix } from "./hadamard.ts"
import { check, type Floats } from "./input.ts"
import { multiplyAdd } from "./product.ts"
import { rowMajor, transposed } from "./view.ts"

export interface HadamardOptions {
  /** "orthonormal" divides by √size, so that lengths are kept; default "none". */
  readonly scale?: "none" | "orthonormal"
  /** Multiply by Hᵀ, which undoes an orthonormal transform. Powers of two have a symmetric H. */
  readonly transposed?: boolean
}

/**
 * Multiplies every row of a rows×size matrix by the Hadamard matrix of that size, in place: x ← H·x in
 * size·(log₂(size/base) + base) additions or subtractions per row. Rows are transformed in float64 and rounded once.
 * @throws UnfitSize with the nearest usable sizes
 */
export function hadamardTransform(data: Floats, rows: number, size: number, options: HadamardOptions = {}): void {
  check("hadamardTransform", data, rows, size)
  if (size === 0) return
  const { base, doublings } = hadamardFactors(size, "hadamardTransform")
  const length = 2 ** doublings
  const P = rowMajor(new Float64Array(paleyMatrix(base)), base)
  const scale = options.scale === "orthonormal" ? 1 / Math.sqrt(size) : 1
  const row = new Float64Array(size), mixed = base === 1 ? row : new Float64Array(size)
  for (let r = 0; r < rows; r++) {
    const source = data.subarray(r * size, (r + 1) * size)
    row.set(source)
    for (let at = 0; at < size; at += length) butterflies(row, at, length)
    if (base > 1) {
      // (P ⊗ I)·x is P times the row laid out as a base×length matrix.
      mixed.fill(0)
      multiplyAdd(rowMajor(mixed, length), options.transposed ? transposed(P) : P, rowMajor(row, length), base, length, base)
    }
    for (let i = 0; i < size; i++) source[i] = scale * mixed[i]!
  }
}

/** The Walsh–Hadamard transform of a power of two of elements (Sylvester's order), two stages per pass. */
function butterflies(x: Float64Array, at: number, length: number): void {
  let half = 1
  for (; half * 4 <= length; half *= 4) {
    for (let i = at; i < at + length; i += 4 * half) {
      for (let p = i; p < i + half; p++) {
        const a = x[p]! + x[p + half]!, b = x[p]! - x[p + half]!
        const c = x[p + 2 * half]! + x[p + 3 * half]!, d = x[p + 2 * half]! - x[p + 3 * half]!
        x[p] = a + c
        x[p + half] = b + d
        x[p + 2 * half] = a - c
        x[p + 3 * half] = b - d
      }
    }
  }
  if (half < length) {
    for (let p = at; p < at + half; p++) {
      const a = x[p]!, b = x[p + half]!
      x[p] = a + b
      x[p + half] = a - b
    }
  }
}
