// Attention for many queries (a prompt, a training step): keys and values are packed once into the panels that matmul's
// register tile reads; then each unit takes a block of queries through all blocks of keys.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Holes } from "../emit/kernel.ts"
import { copyQuery, finishRow, sight, softmaxStep, startState, stateBytes, type AttentionDims } from "./attention.block.ts"
import type { Phase, Template } from "./holes.ts"
import { ceilDiv, i32s, minimum, roundUp, split } from "./loops.ts"
import { emitPack } from "./pack.ts"
import { emitTile, tileShape, type TileShape } from "./tile.ts"

/** Keys per block: its panels stay in the second-level cache while a block of queries passes over them. */
const keyBlock = 256
/** Rows per unit: a multiple of all tiles' heights; more of them see more keys in vain when attention is causal. */
const rowBlock = 24

interface Plan {
  readonly tile: TileShape
  readonly blocks: number
  /** Panels across the values, and bytes of a block's key panels and of its value panels. */
  readonly valuePanels: number
  readonly keyBytes: number
  readonly valueBytes: number
  /** A unit has all queries of some heads that share keys, or some queries of one head. */
  readonly unitHeads: number
  readonly unitQueries: number
  /** Bytes between rows of queries, scores and sums. */
  readonly queryStride: number
  readonly sumStride: number
}
const scoreStride = keyBlock * 4

export function manyRows(dims: AttentionDims, holes: Holes): Template {
  const { batch, heads, kvHeads, tq, tk, d, dv } = dims
  const tile = tileShape(holes.features)
  const together = heads / kvHeads
  const unitHeads = Math.max(1, Math.min(together, Math.floor(rowBlock / tq)))
  const unitQueries = unitHeads > 1 ? tq : ceilDiv(tq, ceilDiv(tq, rowBlock))
  const valuePanels = ceilDiv(dv, tile.columns)
  const plan: Plan = {
    tile, valuePanels, unitHeads, unitQueries,
    blocks: ceilDiv(tk, keyBlock),
    keyBytes: keyBlock * d * 4,
    valueBytes: keyBlock * valuePanels * tile.columns * 4,
    queryStride: roundUp(d, 4) * 4,
    sumStride: valuePanels * tile.columns * 4,
  }
  const rows = unitHeads * unitQueries
  return {
    phases: [packPhase(dims, holes, plan), attendPhase(dims, holes, plan)],
    scratchBytes: batch * kvHeads * plan.blocks * (plan.keyBytes + plan.valueBytes),
    threadScratchBytes: 64 + roundUp(rows * stateBytes, 64) + rows * scoreStride + rows * plan.sumStride + roundUp(rows * plan.queryStride, 64),
  }
}

/** to = address of the panels of a block of keys: those of the keys, then those of the values. */
function panelsOf(f: FunctionBuilder, { kvHeads }: AttentionDims, holes: Holes, plan: Plan, batch: Local, kvHead: Local, block: Local, to: Local): void {
  holes.scratch(f)
  f.get(batch); f.scale(kvHeads); f.get(kvHead); f.op("i32.add")
  f.scale(plan.blocks); f.get(block); f.op("i32.add")
  f.scale(plan.keyBytes + plan.valueBytes)
  f.op("i32.add")
  f.set(to)
}

function packPhase(dims: AttentionDims, holes: Holes, plan: Plan): Phase {
  const { batch: batches, kvHeads, tq, d, dv } = dims, { k, v } = holes.operands, { columns } = plan.tile
  return {
    units: batches * kvHeads * plan.blocks,
    emit(f, begin, end) {
      const [unit, batch, kvHead, block, first, last, low, none, high, from, to, key, feature] = i32s(f, 13)
      const seen = sight(f, dims, holes)
      f.assign(first, 0)
      f.assign(last, tq - 1)
      seen.of(first, low, none)
      seen.of(last, none, high)
      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, [[batch, batches], [kvHead, kvHeads], [block, plan.blocks]])
        const keysFrom = f.local("i32"), keysEnd = f.local("i32")
        f.get(block); f.scale(keyBlock); f.set(keysFrom)
        minimum(f, keysEnd, () => f.address(keysFrom, keyBlock, 1), high)
        // Blocks that no query sees are left out; so is, in any other, what none sees at its end.
        f.get(keysFrom); f.get(keysEnd); f.op("i32.lt_s")
        f.get(low); f.address(keysFrom, keyBlock, 1); f.op("i32.lt_s", "i32.and")
        f.if(() => {
          panelsOf(f, dims, holes, plan, batch, kvHead, block, from)
          emitPack(f, { operand: k!, coords: [batch, kvHead, key, feature], inner: 2, innerRange: [keysFrom, keysEnd], group: columns,
            groupStride: d * columns * 4, outer: 3, outerRange: [0, d], outerStride: columns * 4, to: from })
          f.address(from, plan.keyBytes, 1); f.set(to)
          emitPack(f, { operand: v!, coords: [batch, kvHead, key, feature], inner: 3, innerRange: [0, dv], group: columns,
            groupStride: keyBlock * columns * 4, outer: 2, outerRange: [keysFrom, keysEnd], outerStride: columns * 4, to })
        })
      })
    },
  }
}

function attendPhase(dims: AttentionDims, holes: Holes, plan: Plan): Phase {
  const { batch: batches, heads, kvHeads, tq, d } = dims
  const { tile, unitHeads, unitQueries, queryStride, sumStride } = plan
  const together = heads / kvHeads
  const headUnits = ceilDiv(together, unitHeads), queryUnits = ceilDiv(tq, unitQueries)
  const unitRows = unitHeads * unitQueries
  // How many rows units have, so that what is left of full tiles is known while emitting.
  const headCounts = new Set([unitHeads, together - (headUnits - 1) * unitHeads]), queryCounts = new Set([unitQueries, tq - (queryUnits - 1) * unitQueries])
  const rests = new Set([...headCounts].flatMap((h) => [...queryCounts].map((n) => (h * n) % tile.rows)))
  rests.delete(0)
  return {
    units: batches * kvHeads * headUnits * queryUnits,
    emit(f, begin, end) {
      const [unit, batch, kvHead, head, headFrom, headEnd, query, queryFrom, queryEnd, rows] = i32s(f, 10)
      const [partial, states, scores, sums, queries, state, score, sum] = i32s(f, 8)
      const [key, keyEnd, block, low, high, none, count, rounded, panels, panel] = i32s(f, 10)
      const seen = sight(f, dims, holes)
      holes.threadScratch(f); f.set(partial)
      f.address(partial, 64, 1); f.set(states)
      f.address(states, roundUp(unitRows * stateBytes, 64), 1); f.set(scores)
      f.address(scores, unitRows * scoreStride, 1); f.set(sums)
      f.address(sums, unitRows * sumStride, 1); f.set(queries)

      /** Calls body for every row, with `head`, `query` and the addresses of its state, scores and sums. */
      const eachRow = (body: () => void): void => {
        f.assign(state, states)
        f.assign(score, scores)
        f.assign(sum, sums)
        f.forRange(head, headFrom, headEnd, 1, () => f.forRange(query, queryFrom, queryEnd, 1, () => {
          body()
          f.increment(state, stateBytes)
          f.increment(score, scoreStride)
          f.increment(sum, sumStride)
        }))
      }

      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, [[batch, batches], [kvHead, kvHeads], [headFrom, headUnits], [queryFrom, queryUnits]])
        f.get(queryFrom); f.scale(unitQueries); f.set(queryFrom)
        minimum(f, queryEnd, () => f.address(queryFrom, unitQueries, 1), tq)
        f.get(headFrom); f.scale(unitHeads); f.set(headFrom)
        minimum(f, headEnd, () => f.address(headFrom, unitHeads, 1), together)
        f.get(headEnd); f.get(headFrom); f.op("i32.sub"); f.get(queryEnd); f.get(queryFrom); f.op("i32.sub", "i32.mul"); f.set(rows)
        for (const h of [headFrom, headEnd]) { f.get(kvHead); f.scale(together); f.get(h); f.op("i32.add"); f.set(h) }

        f.get(sums); f.i32(0); f.get(rows); f.scale(sumStride); f.memoryFill()
        const to = f.local("i32")
        f.assign(to, queries)
        eachRow(() => {
          startState(f, state)
          copyQuery(f, holes.operands.q!, dims, [batch, head, query], to)
          f.increment(to, queryStride)
        })

        seen.of(queryFrom, low, none)
        f.address(queryEnd, -1, 1); f.set(query)
        seen.of(query, none, keyEnd)
        f.get(low); f.i32(keyBlock); f.op("i32.div_u"); f.set(block)
        f.get(block); f.scale(keyBlock); f.set(key)
        f.forRange(key, key, keyEnd, keyBlock, () => {
          minimum(f, count, () => { f.get(keyEnd); f.get(key); f.op("i32.sub") }, keyBlock)
          f.address(count, 15, 1); f.i32(-16); f.op("i32.and"); f.set(rounded)
          f.address(count, tile.columns - 1, 1); f.i32(tile.columns); f.op("i32.div_u"); f.set(panels)
          const [keyPanel, valuePanel, scorePanel, sumPanel] = i32s(f, 4)
          panelsOf(f, dims, holes, plan, batch, kvHead, block, keyPanel)
          f.address(keyPanel, plan.keyBytes, 1); f.set(valuePanel)
          f.assign(scorePanel, scores)
          f.forRange(panel, 0, panels, 1, () => {
            tiles(f, plan, holes, rows, rests, { a: queries, aStride: queryStride, length: d, b: keyPanel, sums: scorePanel, sumStride: scoreStride, fresh: true })
            f.increment(keyPanel, d * tile.columns * 4)
            f.increment(scorePanel, tile.columns * 4)
          })
          eachRow(() => {
            seen.of(query, low, high)
            softmaxStep({ f, holes, batch, head, query, key, scores: score, count: rounded, low, high, state, partial, sums: sum, columns: sumStride / 4 })
          })
          f.assign(sumPanel, sums)
          f.forRange(panel, 0, plan.valuePanels, 1, () => {
            tiles(f, plan, holes, rows, rests, { a: scores, aStride: scoreStride, length: count, b: valuePanel, sums: sumPanel, sumStride, fresh: false })
            f.increment(valuePanel, keyBlock * tile.columns * 4)
            f.increment(sumPanel, tile.columns * 4)
          })
          f.increment(block, 1)
        })
        eachRow(() => finishRow(f, holes, dims.dv, [batch, head, query], sum, state))
      })
    },
  }
}

interface Panel {
  /** Address of the first row on the left, and bytes between rows. */
  readonly a: Local
  readonly aStride: number
  /** Length of the products' sums. */
  readonly length: number | Local
  readonly b: Local
  readonly sums: Local
  readonly sumStride: number
  readonly fresh: boolean
}

/** Tiles down all rows of one panel. */
function tiles(f: FunctionBuilder, { tile }: Plan, holes: Holes, rows: Local, rests: ReadonlySet<number>, p: Panel): void {
  const [a, at, aEnd, b, sums, row, left] = i32s(f, 7)
  f.assign(at, p.a)
  f.assign(sums, p.sums)
  const emit = (height: number): void => {
    f.assign(a, at)
    f.assign(b, p.b)
    f.address(a, p.length, 4); f.set(aEnd)
    emitTile(f, { rows: height, columns: tile.columns, relaxed: holes.features.relaxed, a, aStride: p.aStride, b, bStride: tile.columns * 4, aEnd,
      sums, sumStride: p.sumStride, fresh: p.fresh })
    f.increment(at, height * p.aStride)
    f.increment(sums, height * p.sumStride)
  }
  f.address(rows, 1 - tile.rows, 1); f.set(left)
  f.forRange(row, 0, left, tile.rows, () => emit(tile.rows))
  if (rests.size === 0) return
  f.get(rows); f.get(row); f.op("i32.sub"); f.set(left)
  for (const rest of rests) {
    f.get(left); f.i32(rest); f.op("i32.eq")
    f.if(() => emit(rest))
  }
}
