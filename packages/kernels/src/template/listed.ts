// Rows of x times a weight that is stored as a list of blocks: single elements are multiplied eight at a time, with elements of
// x that are gathered one by one; blocks of whole vectors read x as it lies.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Holes } from "../emit/kernel.ts"
import type { Stream, Template } from "./holes.ts"
import { endOfSteps, i32s, v128s } from "./loops.ts"
import { sparseProduct } from "./sparse.ts"
import { multiplyAdd } from "./tile.ts"

export const acceptsListed = ({ blockRows, blockColumns }: Readonly<Record<string, number>>): boolean => blockColumns! % 4 === 0 || (blockRows === 1 && blockColumns === 1)

export function listedMatmul(holes: Holes): Template {
  const { blockRows, blockColumns } = holes.dims as { blockRows: number; blockColumns: number }
  const { begin, column, value } = holes.operands as Record<"begin" | "column" | "value", Holes["operands"][string]>
  return sparseProduct(holes, {
    padding: blockColumns,
    prepare(f, row) {
      const [from, to, block, blockRow, place, inBlock] = i32s(f, 6) as [Local, Local, Local, Local, Local, Local]
      const begins = begin.along(f, 0, [blockRow], blockRow), columns = column.along(f, 0, [block], block)
      const start = (): void => {
        f.get(row); f.i32(blockRows); f.op("i32.div_u"); f.set(blockRow)
        f.get(row); f.i32(blockRows); f.op("i32.rem_u"); f.set(inBlock)
        begins.value(1); f.set(from)
        begins.value(1, 1); f.set(to)
      }
      if (blockColumns === 1) {
        const values = value.along(f, 1, [row, block], block)
        return { begin: start, product: (x, sums) => gathered(f, holes, { x, sums, columns, values, block, from, to }) }
      }
      const values = value.along(f, 1, [row, place], place)
      return {
        begin: start,
        product(x, sums) {
          const at = f.local("i32")
          f.forRange(block, from, to, 1, () => {
            f.get(block); f.scale(blockRows); f.get(inBlock); f.op("i32.add"); f.scale(blockColumns); f.set(place)
            f.get(x); columns.value(1); f.scale(4 * blockColumns); f.op("i32.add"); f.set(at)
            for (let c = 0; c < blockColumns; c += 4) multiplyAdd(f, holes.features.relaxed, () => { f.get(at); f.load("v128.load", 4 * c, 0) }, () => values.value(4, c), sums[(c / 4) % 2]!)
          })
        },
      }
    },
  })
}

interface Row { readonly x: Local; readonly sums: readonly [Local, Local]; readonly columns: Stream; readonly values: Stream; readonly block: Local; readonly from: Local; readonly to: Local }
/** Elements per step. */
const step = 8

function gathered(f: FunctionBuilder, { features: { relaxed } }: Holes, { x, sums, columns, values, block, from, to }: Row): void {
  const [whole] = i32s(f, 1) as [Local], parts = v128s(f, 2)
  const address = (offset: number): void => { columns.value(1, offset); f.scale(4); f.get(x); f.op("i32.add") }
  endOfSteps(f, whole, from, to, step)
  f.forRange(block, from, whole, step, () => {
    parts.forEach((part, p) => {
      address(4 * p); f.load("v128.load32_zero", 0); f.set(part)
      for (let lane = 1; lane < 4; lane++) { address(4 * p + lane); f.get(part); f.laneMemory("v128.load32_lane", lane); f.set(part) }
    })
    parts.forEach((part, p) => multiplyAdd(f, relaxed, () => f.get(part), () => values.value(4, 4 * p), sums[p]!))
  })
  f.forRange(block, whole, to, 1, () => {
    address(0); f.load("v128.load32_zero", 0); f.set(parts[0]!)
    multiplyAdd(f, relaxed, () => f.get(parts[0]!), () => { values.value(1); f.op("f32x4.splat") }, sums[0])
  })
}
