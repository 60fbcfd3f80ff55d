// What products with sparse weights share: a unit is some rows of W with some rows of x, which lie in private scratch.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Holes } from "../emit/kernel.ts"
import type { Template } from "./holes.ts"
import { ceilDiv, i32s, minimum, roundUp, split, v128s } from "./loops.ts"
import { emitPack } from "./pack.ts"

/** Rows of W per unit, and bytes of x that are walked for each. */
const unitRows = 16
const tileBytes = 2 ** 17
const tileMaximum = 8

export interface SparseProduct {
  /** x is padded with zeros to whole multiples of so many columns. */
  readonly padding: number
  /** Bytes of scratch in front of x, a multiple of 64, and what fills them. */
  readonly table?: { readonly bytes: number; fill(f: FunctionBuilder, at: Local): void }
  /** Emits what rows of W are computed with; `at` is the address of the table. */
  prepare(f: FunctionBuilder, row: Local, at: Local): {
    /** At the begin of a row of W. */
    begin(): void
    /** Adds its product with the row of x at `x` (which it may change) to sums that are 0. */
    product(x: Local, sums: readonly [Local, Local]): void
  }
}

export function sparseProduct({ dims, operands, result, threadScratch }: Holes, { padding, table, prepare }: SparseProduct): Template {
  const { m, n, k } = dims as { m: number; n: number; k: number }
  const rowBytes = roundUp(roundUp(k, padding) * 4, 64), tile = Math.max(1, Math.min(tileMaximum, m, Math.floor(tileBytes / rowBytes)))
  const tiles = ceilDiv(m, tile), blocks = ceilDiv(n, unitRows), tableBytes = table?.bytes ?? 0
  const phase = {
    units: tiles * blocks,
    emit(f: FunctionBuilder, begin: Local, end: Local): void {
      const [unit, block, part, packed, at, all, row, rowFrom, rowEnd, i, from, to, column, x, own] = i32s(f, 15) as [Local, Local, Local, Local, Local, Local, Local, Local, Local, Local, Local, Local, Local, Local, Local]
      const sums = v128s(f, 2) as [Local, Local], total = f.local("f32")
      f.assign(at, () => threadScratch(f))
      table?.fill(f, at)
      f.address(at, tableBytes, 1); f.set(all)
      if (k % padding !== 0) { f.get(all); f.i32(0); f.i32(tile * rowBytes); f.memoryFill() }
      f.assign(packed, -1)
      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, [[part, tiles], [block, blocks]])
        f.get(part); f.scale(tile); f.set(from)
        minimum(f, to, () => f.address(from, tile, 1), m)
        f.get(part); f.get(packed); f.op("i32.ne")
        f.if(() => {
          f.assign(packed, part)
          emitPack(f, { operand: operands.x!, coords: [i, column], inner: 1, innerRange: [0, k], group: 16, groupStride: 64, outer: 0, outerRange: [from, to], outerStride: rowBytes, to: all })
        })
        f.get(block); f.scale(unitRows); f.set(rowFrom)
        minimum(f, rowEnd, () => f.address(rowFrom, unitRows, 1), n)
        f.forRange(row, rowFrom, rowEnd, 1, () => {
          const { begin: start, product } = prepare(f, row, at)
          start()
          f.assign(x, all)
          f.forRange(i, from, to, 1, () => {
            for (const s of sums) { f.f32x4(0); f.set(s) }
            f.assign(own, x)
            product(own, sums)
            f.get(sums[0]); f.get(sums[1]); f.op("f32x4.add"); f.set(sums[0])
            for (let lane = 0; lane < 4; lane++) {
              f.get(sums[0]); f.lane("f32x4.extract_lane", lane)
              if (lane > 0) f.op("f32.add")
            }
            f.set(total)
            result.along(f, 1, [i, row], row).finish(1, total)
            f.increment(x, rowBytes)
          })
        })
      })
    },
  }
  return { phases: [phase], scratchBytes: 0, threadScratchBytes: tableBytes + tile * rowBytes }
}
