// Rows of x times a weight that is stored as a list of blocks: single elements are multiplied eight at a time, with elements of
// x that are gathered one by one; blocks of whole vectors read x as it lies.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Holes } from "../emit/kernel.ts"
import type { Stream, Template } from "./holes.ts"
import { endOfSteps, i32s, minimum, v128s } from "./loops.ts"
import { sparseProduct, type Sums } from "./sparse.ts"
import { multiplyAdd } from "./tile.ts"

export const acceptsListed = ({ blockRows, blockColumns }: Readonly<Record<string, number>>): boolean => blockColumns! % 4 === 0 || (blockRows === 1 && blockColumns === 1)

/** A row of W: its blocks from … to, of which one is `block`. */
interface Row { readonly row: Local; readonly block: Local; readonly from: Local; readonly to: Local; readonly columns: Stream; readonly values: Stream; readonly place: Local; readonly inBlock: Local }

export function listedMatmul(holes: Holes): Template {
  const { blockRows, blockColumns } = holes.dims as { blockRows: number; blockColumns: number }
  const { begin, column, value } = holes.operands as Record<"begin" | "column" | "value", Holes["operands"][string]>
  return sparseProduct(holes, {
    together: 4,
    padding: blockColumns,
    prepare(f, all) {
      const rows = all.map((row): Row => {
        const [from, to, block, blockRow, place, inBlock] = i32s(f, 6) as [Local, Local, Local, Local, Local, Local]
        f.get(row); f.i32(blockRows); f.op("i32.div_u"); f.set(blockRow)
        f.get(row); f.i32(blockRows); f.op("i32.rem_u"); f.set(inBlock)
        const begins = begin.along(f, 0, [blockRow], blockRow)
        begins.value(1); f.set(from)
        begins.value(1, 1); f.set(to)
        const at = blockColumns === 1 ? block : place
        return { row, block, from, to, place, inBlock, columns: column.along(f, 0, [block], block), values: value.along(f, 1, [row, at], at) }
      })
      return { product: (x, sums) => (blockColumns === 1 ? gathered(f, holes, x, rows, sums) : rows.forEach((row, s) => whole(f, holes, x, row, sums[s]!))) }
    },
  })
}

function whole(f: FunctionBuilder, { dims, features: { relaxed } }: Holes, x: Local, { block, from, to, columns, values, place, inBlock }: Row, sums: Sums): void {
  const { blockRows, blockColumns } = dims as { blockRows: number; blockColumns: number }, at = f.local("i32")
  f.forRange(block, from, to, 1, () => {
    f.get(block); f.scale(blockRows); f.get(inBlock); f.op("i32.add"); f.scale(blockColumns); f.set(place)
    f.get(x); columns.value(1); f.scale(4 * blockColumns); f.op("i32.add"); f.set(at)
    for (let c = 0; c < blockColumns; c += 4) multiplyAdd(f, relaxed, () => { f.get(at); f.load("v128.load", 4 * c, 0) }, () => values.value(4, c), sums[(c / 4) % 2]!)
  })
}

/** Elements of a row per step, where rows are walked together, and of each by itself. */
const together = 8, alone = 4

function gathered(f: FunctionBuilder, { features: { relaxed } }: Holes, x: Local, rows: readonly Row[], sums: readonly Sums[]): void {
  const [step, most, end] = i32s(f, 3) as [Local, Local, Local], parts = v128s(f, together / 4)
  const address = ({ columns }: Row, offset: number): void => { columns.value(1, offset); f.scale(4); f.get(x); f.op("i32.add") }
  /** Elements from the row's `block` on. */
  const add = (row: Row, own: Sums, count: number): void => {
    const some = parts.slice(0, count / 4)
    // Loads of their own, joined by shuffles: loading into a lane makes each wait for the one before it.
    some.forEach((part, p) => {
      for (let half = 0; half < 4; half += 2) {
        for (let lane = 0; lane < 2; lane++) { address(row, 4 * p + half + lane); f.load("v128.load32_zero", 0) }
        f.shuffle32(0, 4, 1, 5)
      }
      f.shuffle32(0, 1, 4, 5); f.set(part)
    })
    some.forEach((part, p) => multiplyAdd(f, relaxed, () => f.get(part), () => row.values.value(4, 4 * p), own[p % 2]!))
  }
  rows.forEach(({ block, from, to }, s) => {
    f.assign(block, from)
    const length = (): void => { f.get(to); f.get(from); f.op("i32.sub") }
    if (s === 0) f.assign(most, length)
    else minimum(f, most, most, length)
  })
  // As many steps as all of them have.
  endOfSteps(f, end, 0, most, together)
  f.forRange(step, 0, end, together, () => rows.forEach((row, s) => {
    add(row, sums[s]!, together)
    f.increment(row.block, together)
  }))
  rows.forEach((row, s) => {
    const { block, to, values } = row, own = sums[s]!
    endOfSteps(f, end, block, to, alone)
    f.forRange(block, block, end, alone, () => add(row, own, alone))
    f.forRange(block, block, to, 1, () => {
      address(row, 0); f.load("v128.load32_zero", 0); f.set(parts[0]!)
      multiplyAdd(f, relaxed, () => f.get(parts[0]!), () => { values.value(1); f.op("f32x4.splat") }, own[0])
    })
  })
}
