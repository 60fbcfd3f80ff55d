// The matmul template: picks a loop nest by the shape and layout alone, so that a result never depends on the threads.
import type { Local } from "../emit/assembler.ts"
import type { Features, Operand, Result, Template } from "./holes.ts"
import { axpy } from "./matmul.axpy.ts"
import { dots } from "./matmul.dots.ts"
import { gemm } from "./matmul.gemm.ts"
import type { MatmulDims, MatmulHoles } from "./matmul.gemm.ts"
import { row } from "./matmul.row.ts"

export type { MatmulDims, MatmulHoles } from "./matmul.gemm.ts"

/** Rows up to which reading b as it is beats packing it. Measured by bench/kernels/matmul.ts. */
const fewRows = { dots: 12, axpy: 6 }

/** result[b, i, j] = epilogue(Σ_l a[b, i, l] · b[b, l, j]), accumulated in f32. */
export function matmul(dims: MatmulDims, holes: MatmulHoles, features: Features): Template {
  return few(dims, holes, features) ?? few({ ...dims, m: dims.n, n: dims.m }, swapped(holes), features) ?? gemm(dims, holes, features)
}

function few(dims: MatmulDims, holes: MatmulHoles, features: Features): Template | undefined {
  if (holes.b.contiguous === 1 && dims.m === 1) return row(dims, holes, features)
  if (holes.b.contiguous === 1) return dims.m <= fewRows.dots ? dots(dims, holes, features) : undefined
  return dims.m <= fewRows.axpy ? axpy(dims, holes, features) : undefined
}

/** The same product read as bᵀ · aᵀ: few columns become few rows. */
function swapped(holes: MatmulHoles): MatmulHoles {
  return { ...holes, a: transposed(holes.b), b: transposed(holes.a), result: transposedResult(holes.result) }
}

const swap = (axis: number) => (axis === 0 ? 0 : 3 - axis)
const swapCoords = ([batch, row, column]: readonly Local[]) => [batch, column, row] as Local[]

const transposed = (operand: Operand): Operand => ({
  contiguous: operand.contiguous === undefined ? undefined : swap(operand.contiguous),
  along: (f, axis, coords, position, aligned) => operand.along(f, swap(axis), swapCoords(coords), position, aligned),
  runs(axis, rowAxis) {
    const runs = operand.runs?.(swap(axis), swap(rowAxis))
    return runs && { ...runs, along: (f, coords, run) => runs.along(f, swapCoords(coords), run) }
  },
  constantAlong: (axis) => operand.constantAlong(swap(axis)),
})

const transposedResult = (result: Result): Result => ({
  along: (f, axis, coords, position) => result.along(f, swap(axis), swapCoords(coords), position),
})
