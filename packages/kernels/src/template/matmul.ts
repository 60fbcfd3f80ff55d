// The matmul template: picks a loop nest by the shape and layout alone, so that a result never depends on the threads.
import type { Local } from "../emit/assembler.ts"
import type { Features, Operand, Result, Template } from "./holes.ts"
import { gemm } from "./matmul.gemm.ts"
import type { MatmulDims, MatmulHoles } from "./matmul.gemm.ts"
import { fewRows, rowsMaximum } from "./matmul.rows.ts"

export type { MatmulDims, MatmulHoles } from "./matmul.gemm.ts"

/** result[b, i, j] = epilogue(Σ_l a[b, i, l] · b[b, l, j]), accumulated in f32. */
export function matmul(dims: MatmulDims, holes: MatmulHoles, features: Features): Template {
  if (dims.m <= rowsMaximum) return fewRows(dims, holes, features)
  if (dims.n <= rowsMaximum) return fewRows({ ...dims, m: dims.n, n: dims.m }, swapped(holes), features)
  return gemm(dims, holes, features)
}

/** The same product read as bᵀ · aᵀ: few columns become few rows. */
function swapped(holes: MatmulHoles): MatmulHoles {
  return { ...holes, a: transposed(holes.b), b: transposed(holes.a), result: transposedResult(holes.result) }
}

const swap = (axis: number) => (axis === 0 ? 0 : 3 - axis)
const swapCoords = ([batch, row, column]: readonly Local[]) => [batch, column, row] as Local[]

const transposed = (operand: Operand): Operand => ({
  contiguous: operand.contiguous === undefined ? undefined : swap(operand.contiguous),
  along: (f, axis, coords, position) => operand.along(f, swap(axis), swapCoords(coords), position),
})

const transposedResult = (result: Result): Result => ({
  along: (f, axis, coords, position) => result.along(f, swap(axis), swapCoords(coords), position),
})
