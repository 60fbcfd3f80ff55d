// What products with sparse weights share: a unit is some rows of W with some rows of x, which lie in private scratch. Rows of W
// are walked a few at a time, each a long stream through memory, as prefetching likes it.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Holes } from "../emit/kernel.ts"
import type { Template } from "./holes.ts"
import { ceilDiv, i32s, minimum, roundUp, split, v128s } from "./loops.ts"
import { emitPack } from "./pack.ts"

/** Rows of W per unit: long streams, but enough units to share. */
const unitRowsOf = (n: number): number => Math.max(32, Math.min(128, 4 * Math.ceil(n / 128)))
/** Rows of x per unit, as long as they are no more bytes than that. */
const tileMaximum = 8, tileBytes = 2 ** 17

export type Sums = readonly [Local, Local]

export interface SparseProduct {
  /** Rows of W that are walked together. */
  readonly together: number
  /** x is padded with zeros to whole multiples of so many columns. */
  readonly padding: number
  /** Whether both sums of a row are made alike: neighbouring stores at their end are where the revectorizer starts from. */
  readonly joined?: boolean
  /** Sets the row of W from which on rows are walked by themselves; none is, unless given, but for what is left of units. */
  alone?(f: FunctionBuilder, to: Local): void
  /** Emits what comes before the loop over rows of x, for rows of W that are walked together. */
  prepare(f: FunctionBuilder, rows: readonly Local[]): {
    /** Adds the product of each row of W with the row of x at `x` (which may be changed) to sums that are 0. */
    product(x: Local, sums: readonly Sums[]): void
    /** What each product is to be multiplied with (f32), if anything is. */
    readonly scales?: readonly (Local | undefined)[]
  }
}

export function sparseProduct({ dims, operands, result, threadScratch }: Holes, { together: streamCount, padding, joined, alone, prepare }: SparseProduct): Template {
  const { m, n, k } = dims as { m: number; n: number; k: number }
  const unitRows = unitRowsOf(n), rowBytes = roundUp(roundUp(k, padding) * 4, 64), tile = Math.max(1, Math.min(tileMaximum, m, Math.floor(tileBytes / rowBytes)))
  const sumsAt = tile * rowBytes, tiles = ceilDiv(m, tile), blocks = ceilDiv(n, unitRows)
  const phase = {
    units: tiles * blocks,
    emit(f: FunctionBuilder, begin: Local, end: Local): void {
      const [unit, block, part, packed, all, rowFrom, rowEnd, i, from, to, column, apart, first, last] = i32s(f, 14) as [Local, Local, Local, Local, Local, Local, Local, Local, Local, Local, Local, Local, Local, Local]
      const [x, own, lastTogether, togetherEnd] = i32s(f, 4) as [Local, Local, Local, Local], total = f.local("f32")
      const rows = i32s(f, streamCount), sums = rows.map(() => v128s(f, 2) as unknown as Sums)
      /** Products of `count` rows of W. */
      const emitRows = (count: number): void => {
        const { product, scales } = prepare(f, rows.slice(0, count)), some = sums.slice(0, count)
        f.assign(x, all)
        f.forRange(i, from, to, 1, () => {
          for (const s of some.flat()) { f.f32x4(0); f.set(s) }
          f.assign(own, x)
          product(own, some)
          if (joined) some.forEach((pair, s) => pair.forEach((sum, half) => { f.get(all); f.get(sum); f.store("v128.store", sumsAt + 32 * s + 16 * half) }))
          some.forEach(([a, b], s) => {
            if (joined) for (const half of [0, 16]) { f.get(all); f.load("v128.load", sumsAt + 32 * s + half) }
            else { f.get(a); f.get(b) }
            f.op("f32x4.add"); f.set(a)
            for (let lane = 0; lane < 4; lane++) {
              f.get(a); f.lane("f32x4.extract_lane", lane)
              if (lane > 0) f.op("f32.add")
            }
            if (scales?.[s] !== undefined) { f.get(scales[s]); f.op("f32.mul") }
            f.set(total)
            result.along(f, 1, [i, rows[s]!], rows[s]!).finish(1, total)
          })
          f.increment(x, rowBytes)
        })
      }
      f.assign(all, () => threadScratch(f))
      if (k % padding !== 0) { f.get(all); f.i32(0); f.i32(tile * rowBytes); f.memoryFill() }
      f.assign(packed, -1)
      alone?.(f, lastTogether)
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
        f.assign(togetherEnd, rowEnd)
        if (alone) {
          minimum(f, togetherEnd, rowEnd, lastTogether)
          // A unit may begin behind it.
          f.get(rowFrom); f.get(togetherEnd); f.get(rowFrom); f.get(togetherEnd); f.op("i32.gt_s", "select"); f.set(togetherEnd)
        }
        f.get(togetherEnd); f.get(rowFrom); f.op("i32.sub"); f.i32(streamCount); f.op("i32.div_u"); f.set(apart)
        f.get(rowFrom); f.get(apart); f.op("i32.add"); f.set(last)
        f.forRange(first, rowFrom, last, 1, () => {
          rows.forEach((row, s) => { f.get(apart); f.scale(s); f.get(first); f.op("i32.add"); f.set(row) })
          emitRows(streamCount)
        })
        if (alone || n % streamCount !== 0) {
          f.get(apart); f.scale(streamCount); f.get(rowFrom); f.op("i32.add"); f.set(first)
          f.forRange(first, first, rowEnd, 1, () => {
            f.assign(rows[0]!, first)
            emitRows(1)
          })
        }
      })
    },
  }
  return { phases: [phase], scratchBytes: 0, threadScratchBytes: sumsAt + 32 * streamCount }
}
