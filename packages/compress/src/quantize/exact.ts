import { fail, linalg, showShape } from "@thimble/core"
import type { Arithmetic, Factor } from "./arithmetic.ts"

const { cholesky, invertTriangular, multiplyAdd, rowMajor, viewFrom, NotPositiveDefinite } = linalg

/** Float64 on the host: what results are held to. */
export function exact(op: string, h: Float64Array, rows: number, n: number): Arithmetic {
  if (h.length !== n * n) fail("shape", op, `H has ${h.length} elements for ${showShape([n, n])}`)
  refuseNonFinite(op, "element of H", h, n)
  return {
    diagonal: () => Float64Array.from({ length: n }, (_, j) => h[j * n + j]!),
    factor(order, added, block) {
      // From the last row and column to the first, a lower factor is an upper one.
      const turned = new Float64Array(n * n)
      for (let i = 0; i < n; i++) {
        const row = order[n - 1 - i]! * n
        for (let j = 0; j < n; j++) turned[i * n + j] = h[row + order[n - 1 - j]!]!
        turned[i * n + i]! += added[order[n - 1 - i]!]!
      }
      try {
        return factorOf(cholesky(turned, n).reverse(), rows, n, block)
      } catch (error) {
        if (!(error instanceof NotPositiveDefinite)) throw error
        return { pivot: n - 1 - error.pivot }
      }
    },
  }
}

function factorOf(v: Float64Array, rows: number, n: number, block: number): Factor {
  const errors = new Float64Array(rows * n), V = rowMajor(v, n)
  const widthAt = (start: number): number => Math.min(block, n - start)
  const inverse = (start: number): Float64Array => {
    const width = widthAt(start), own = new Float64Array(width * width)
    for (let i = 0; i < width; i++) own.set(v.subarray((start + i) * n + start, (start + i) * n + start + width), i * width)
    return invertTriangular(own, width, "upper")
  }
  return {
    inverse,
    correction(start) {
      const width = widthAt(start), owed = new Float64Array(rows * width), out = new Float64Array(rows * width)
      multiplyAdd(rowMajor(owed, width), rowMajor(errors, n), viewFrom(V, 0, start), rows, width, start)
      multiplyAdd(rowMajor(out, width), rowMajor(owed, width), rowMajor(inverse(start), width), rows, width, width)
      return out
    },
    record(start, block) {
      const width = widthAt(start)
      for (let r = 0; r < rows; r++) errors.set(block.subarray(r * width, (r + 1) * width), r * n + start)
    },
    dispose() {},
  }
}

/** Refuses a matrix with an element that is no finite number, with its place. */
export function refuseNonFinite(op: string, what: string, values: Float32Array | Float64Array, columns: number): void {
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!
    if (v - v !== 0) fail("numeric", op, `${what} at row ${Math.floor(i / columns)}, column ${i % columns} is ${v}`, "calibrate with inputs that do not overflow")
  }
}
