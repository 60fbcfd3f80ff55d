// Matrix product for many rows: pack, then register tiles over cache blocks (Goto and van de Geijn, "Anatomy of
// High-Performance Matrix Multiplication", 2008). Phase 1 copies a into shared scratch, row by row within blocks of k;
// in phase 2 each unit owns a block of the result, packs its part of b into panels one tile wide (private scratch that
// stays in the second-level cache), adds up all blocks of k, and finishes its elements.
import type { FunctionBuilder, Index, Local } from "../emit/assembler.ts"
import type { Operand, Phase, Push, Result, Template, Features } from "./holes.ts"
import { ceilDiv, i32s, minimum, roundUp, split } from "./loops.ts"
import { emitPack } from "./pack.ts"
import { emitTile, tileShape } from "./tile.ts"
import type { TileShape } from "./tile.ts"

export interface MatmulDims {
  readonly batch: number
  readonly m: number
  readonly k: number
  readonly n: number
}

/** a: [batch, m, k], b: [batch, k, n], result: [batch, m, n]. */
export interface MatmulHoles {
  readonly a: Operand
  readonly b: Operand
  readonly result: Result
  /** Push the addresses of the scratch areas that the template asked for. */
  readonly scratch: Push
  readonly threadScratch: Push
}

/** Longer blocks touch the sums less often; a panel of b (64 KiB) streams from the second-level cache. */
const kBlockMaximum = 1024
/** Rows of a that stay in the second-level cache (240 KiB with the block of k); a multiple of every tile height. */
const rowBlock = 60
/** Rows per unit at most: bounds the private sums. */
const unitRowsMaximum = 1024
/** Columns per unit: b's block is at most 256 KiB; twice that in large products, where a is then read half as often. */
const unitColumnsMaximum = ({ m, n }: MatmulDims): number => (Math.min(m, n) >= 2048 ? 128 : 64)
const packRows = 32

interface Blocks {
  readonly tile: TileShape
  readonly kBlock: number
  readonly kBlocks: number
  readonly unitRows: number
  readonly unitColumns: number
  readonly rowUnits: number
  readonly columnUnits: number
}

/** Block sizes depend on the dimensions alone, never on the number of threads. */
function blocks(dims: MatmulDims, tile: TileShape): Blocks {
  const { batch, m, k, n } = dims
  const kBlocks = Math.max(1, ceilDiv(k, kBlockMaximum))
  const kBlock = Math.max(4, roundUp(ceilDiv(k, kBlocks), 4))
  const unitColumns = Math.min(unitColumnsMaximum(dims), roundUp(n, tile.columns))
  const columnUnits = ceilDiv(n, unitColumns)
  // About 32 units for the threads to share, but not so few rows that packing b again for each shows.
  const wanted = Math.max(ceilDiv(m, unitRowsMaximum), Math.min(ceilDiv(32, batch * columnUnits), Math.floor(m / 256)), 1)
  const unitRows = roundUp(ceilDiv(m, wanted), tile.rows)
  return { tile, kBlock, kBlocks, unitRows, unitColumns, rowUnits: ceilDiv(m, unitRows), columnUnits }
}

export function gemm(dims: MatmulDims, holes: MatmulHoles, features: Features): Template {
  const plan = blocks(dims, tileShape(features))
  const bBytes = plan.kBlock * plan.unitColumns * 4
  return {
    phases: [packPhase(dims, holes, plan), productPhase(dims, holes, plan, features)],
    scratchBytes: roundUp(dims.batch * plan.kBlocks * dims.m * plan.kBlock * 4, 64),
    threadScratchBytes: roundUp(bBytes, 64) + plan.unitRows * plan.unitColumns * 4,
  }
}

/** Address of packed a: [batch][block of k][row][k]. */
function pushPackedA(f: FunctionBuilder, { m }: MatmulDims, holes: MatmulHoles, plan: Blocks, batch: Index, block: Index, row: Index): void {
  holes.scratch(f)
  f.push(batch)
  f.scale(plan.kBlocks)
  f.push(block)
  f.op("i32.add")
  f.scale(m)
  f.push(row)
  f.op("i32.add")
  f.scale(plan.kBlock * 4)
  f.op("i32.add")
}

function packPhase(dims: MatmulDims, holes: MatmulHoles, plan: Blocks): Phase {
  const rowGroups = ceilDiv(dims.m, packRows)
  return {
    units: dims.batch * plan.kBlocks * rowGroups,
    emit(f, begin, end) {
      const [unit, batch, block, row, rowFrom, rowEnd, k, kFrom, kEnd, to] = i32s(f, 10)
      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, [[batch, dims.batch], [block, plan.kBlocks], [rowFrom, rowGroups]])
        f.get(rowFrom); f.scale(packRows); f.set(rowFrom)
        minimum(f, rowEnd, () => f.address(rowFrom, packRows, 1), dims.m)
        f.get(block); f.scale(plan.kBlock); f.set(kFrom)
        minimum(f, kEnd, () => f.address(kFrom, plan.kBlock, 1), dims.k)
        pushPackedA(f, dims, holes, plan, batch, block, rowFrom)
        f.set(to)
        emitPack(f, { operand: holes.a, coords: [batch, row, k], inner: 2, innerRange: [kFrom, kEnd], group: 16,
          groupStride: 64, outer: 1, outerRange: [rowFrom, rowEnd], outerStride: plan.kBlock * 4, to })
      })
    },
  }
}

function productPhase(dims: MatmulDims, holes: MatmulHoles, plan: Blocks, { relaxed }: Features): Phase {
  const { batch: batches, m, k: kSize, n } = dims
  const { tile, kBlock, unitRows, unitColumns } = plan
  const panelBytes = kBlock * tile.columns * 4
  const sumRowBytes = tile.columns * 4
  const sumPanelBytes = unitRows * sumRowBytes
  return {
    units: batches * plan.columnUnits * plan.rowUnits,
    emit(f, begin, end) {
      const [unit, batch, row, rowFrom, rowEnd, column, columnFrom, columnEnd] = i32s(f, 8)
      const [k, block, kFrom, kEnd, packedB, sums, panelB, panelSums] = i32s(f, 8)
      const [blockFrom, blockEnd, fullEnd, a, b, aEnd, aFrom, sum, kBytes] = i32s(f, 9)
      f.assign(packedB, () => holes.threadScratch(f))
      f.address(packedB, roundUp(kBlock * unitColumns * 4, 64), 1)
      f.set(sums)

      /** Tiles down one panel of b, rows [blockFrom, blockEnd). */
      const panel = (columns: number) => {
        const emit = (rows: number) => {
          f.assign(a, aFrom)
          f.assign(b, panelB)
          f.get(a); f.get(kBytes); f.op("i32.add"); f.set(aEnd)
          emitTile(f, { rows, columns, relaxed, a, aStride: kBlock * 4, b, bStride: sumRowBytes, aEnd, sums: sum, sumStride: sumRowBytes,
            fresh: plan.kBlocks === 1 })
          f.increment(aFrom, rows * kBlock * 4)
          f.increment(sum, rows * sumRowBytes)
        }
        pushPackedA(f, dims, holes, plan, batch, block, blockFrom)
        f.set(aFrom)
        f.get(panelSums)
        f.get(blockFrom); f.get(rowFrom); f.op("i32.sub")
        f.scale(sumRowBytes)
        f.op("i32.add")
        f.set(sum)
        const tail = m % tile.rows
        f.get(blockEnd)
        f.i32(tail)
        f.op("i32.sub")
        f.get(blockEnd)
        f.get(blockEnd); f.i32(m); f.op("i32.eq")
        f.op("select")
        f.set(fullEnd)
        f.forRange(row, blockFrom, fullEnd, tile.rows, () => emit(tile.rows))
        if (tail === 0) return
        f.get(row); f.get(blockEnd); f.op("i32.lt_s")
        f.if(() => emit(tail))
      }

      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, [[batch, batches], [columnFrom, plan.columnUnits], [rowFrom, plan.rowUnits]])
        f.get(rowFrom); f.scale(unitRows); f.set(rowFrom)
        minimum(f, rowEnd, () => f.address(rowFrom, unitRows, 1), m)
        f.get(columnFrom); f.scale(unitColumns); f.set(columnFrom)
        minimum(f, columnEnd, () => f.address(columnFrom, unitColumns, 1), n)
        if (plan.kBlocks > 1 || kSize === 0) { f.get(sums); f.i32(0); f.i32(unitRows * unitColumns * 4); f.memoryFill() }

        f.assign(block, 0)
        f.forRange(kFrom, 0, kSize, kBlock, () => {
          minimum(f, kEnd, () => f.address(kFrom, kBlock, 1), kSize)
          f.get(kEnd); f.get(kFrom); f.op("i32.sub"); f.scale(4); f.set(kBytes)
          emitPack(f, { operand: holes.b, coords: [batch, k, column], inner: 2, innerRange: [columnFrom, columnEnd],
            group: tile.columns, groupStride: panelBytes, outer: 1, outerRange: [kFrom, kEnd], outerStride: sumRowBytes, aligned: true, to: packedB })
          f.forRange(blockFrom, rowFrom, rowEnd, rowBlock, () => {
            minimum(f, blockEnd, () => f.address(blockFrom, rowBlock, 1), rowEnd)
            f.assign(panelB, packedB)
            f.assign(panelSums, sums)
            f.forRange(column, columnFrom, columnEnd, tile.columns, () => {
              const tail = roundUp(n % tile.columns, 4) % tile.columns
              if (tail === 0) panel(tile.columns)
              else {
                f.address(column, tile.columns, 1); f.i32(n); f.op("i32.le_s")
                f.if(() => panel(tile.columns), () => panel(tail))
              }
              f.increment(panelB, panelBytes)
              f.increment(panelSums, sumPanelBytes)
            })
          })
          f.increment(block, 1)
        })
        emitFinish(f, holes.result, { batch, row, rowFrom, rowEnd, column, columnFrom, columnEnd, sums, tile, sumPanelBytes })
      })
    },
  }
}

interface Finish {
  readonly batch: Local
  readonly row: Local
  readonly rowFrom: Local
  readonly rowEnd: Local
  readonly column: Local
  readonly columnFrom: Local
  readonly columnEnd: Local
  readonly sums: Local
  readonly tile: TileShape
  readonly sumPanelBytes: number
}

/** Epilogue over the unit's sums, a loop of its own: it may hold anything without disturbing the tiles' registers. */
function emitFinish(f: FunctionBuilder, result: Result, u: Finish): void {
  const [rowSums, panelSums, sum, panelEnd, vectorEnd] = i32s(f, 5)
  const [vector, scalar] = [f.local("v128"), f.local("f32")]
  f.assign(rowSums, u.sums)
  f.forRange(u.row, u.rowFrom, u.rowEnd, 1, () => {
    const writer = result.along(f, 2, [u.batch, u.row, u.column], u.column)
    f.assign(panelSums, rowSums)
    f.assign(u.column, u.columnFrom)
    f.forRange(u.column, u.columnFrom, u.columnEnd, 0, () => {
      minimum(f, panelEnd, () => f.address(u.column, u.tile.columns, 1), u.columnEnd)
      f.get(panelEnd); f.i32(3); f.op("i32.sub"); f.set(vectorEnd)
      f.assign(sum, panelSums)
      f.forRange(u.column, u.column, vectorEnd, 4, () => {
        f.get(sum); f.load("v128.load"); f.set(vector)
        writer.finish(4, vector)
        f.increment(sum, 16)
      })
      f.forRange(u.column, u.column, panelEnd, 1, () => {
        f.get(sum); f.load("f32.load"); f.set(scalar)
        writer.finish(1, scalar)
        f.increment(sum, 4)
      })
      f.increment(panelSums, u.sumPanelBytes)
    })
    f.increment(rowSums, u.tile.columns * 4)
  })
}
