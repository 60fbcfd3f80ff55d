// Matrix product for few rows where n is contiguous in b (or nothing is): sums of rows of b, scaled by elements of a.
// Runs shorter than a few KiB cost half the memory's speed, so units are slabs of k over whole rows of b (thousands of
// columns); their partial sums are added in the order of k in a second phase.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Features, Phase, Template } from "./holes.ts"
import { ceilDiv, i32s, minimum, roundUp, split, v128s } from "./loops.ts"
import type { MatmulDims, MatmulHoles } from "./matmul.gemm.ts"
import { emitPack } from "./pack.ts"
import { multiplyAdd } from "./tile.ts"

/** 16 KiB of sums per row of a. */
const columnsMaximum = 4096
/** Rows of b per pass over the sums: what fits the registers beside them. */
const passOf = (m: number) => (m > 2 ? 4 : 8)
/** Units to aim at, and least rows of b in each. */
const unitsWanted = 16
const slabRows = 64
/** Columns per unit of the second phase. */
const finishColumns = 256

interface Plan {
  readonly pass: number
  readonly columns: number
  readonly columnBlocks: number
  readonly slabs: number
  readonly slab: number
  /** Bytes between rows of the sums: [batch][slab][row][n]. */
  readonly rowBytes: number
}

function planOf({ batch, m, k, n }: MatmulDims): Plan {
  const pass = passOf(m)
  const columnBlocks = Math.max(1, ceilDiv(n, columnsMaximum))
  const columns = roundUp(ceilDiv(n, columnBlocks), 8)
  const wanted = Math.max(1, Math.min(ceilDiv(unitsWanted, batch * columnBlocks), Math.floor(k / slabRows)))
  const slab = Math.max(pass, roundUp(ceilDiv(k, wanted), pass))
  return { pass, columns, columnBlocks, slabs: Math.max(1, ceilDiv(k, slab)), slab, rowBytes: roundUp(n * 4, 64) }
}

export function axpy(dims: MatmulDims, holes: MatmulHoles, features: Features): Template {
  const plan = planOf(dims)
  return {
    phases: [sumPhase(dims, holes, plan, features), finishPhase(dims, holes, plan)],
    scratchBytes: dims.batch * plan.slabs * dims.m * plan.rowBytes,
    threadScratchBytes: dims.m * roundUp(plan.slab * 4, 64),
  }
}

function sumPhase(dims: MatmulDims, holes: MatmulHoles, plan: Plan, { relaxed }: Features): Phase {
  const { batch: batches, m, k: kSize, n } = dims
  const { pass } = plan
  const aStride = roundUp(plan.slab * 4, 64)
  return {
    units: batches * plan.slabs * plan.columnBlocks,
    emit(f, begin, end) {
      const [unit, batch, slab, block, column, columnFrom, columnEnd, pairEnd, row, k, kFrom, kEnd, passEnd] = i32s(f, 13)
      const [a, at, sums, sum, bytes] = i32s(f, 5)
      f.assign(a, () => holes.threadScratch(f))

      /** sums += a[rows, k … k + count] · b[k … k + count, columns]. */
      const addRows = (count: number) => {
        const streams = Array.from({ length: count }, (_, c) => {
          const position = f.local("i32")
          f.address(k, c, 1); f.set(position)
          return holes.b.along(f, 2, [batch, position, column], column)
        })
        // A few rows: their elements stay in registers; more of them are loaded again each time.
        const elements = Array.from({ length: m }, (_, r) => Array.from({ length: count }, (_, c) => {
          const load = () => { f.get(at); f.load("v128.load32_splat", r * aStride + 4 * c) }
          if (m > 1) return load
          const [element] = v128s(f, 1) as [Local]
          load(); f.set(element)
          return () => f.get(element)
        }))
        const weights = streams.map(() => v128s(f, 2))
        const accumulators = v128s(f, 2)
        const add = (lanes: 1 | 4, vectors: number) => {
          const halves = Array.from({ length: vectors }, (_, v) => v)
          streams.forEach((stream, c) => halves.forEach((v) => {
            stream.value(lanes, 4 * v)
            if (lanes === 1) f.op("f32x4.splat")
            f.set(weights[c]![v]!)
          }))
          elements.forEach((row, r) => {
            const offset = r * plan.rowBytes
            halves.forEach((v) => { f.get(sum); f.load(lanes === 4 ? "v128.load" : "v128.load32_zero", offset + 16 * v); f.set(accumulators[v]!) })
            row.forEach((element, c) => halves.forEach((v) => multiplyAdd(f, relaxed, element, () => f.get(weights[c]![v]!), accumulators[v]!)))
            halves.forEach((v) => {
              f.get(sum); f.get(accumulators[v]!)
              if (lanes === 4) f.store("v128.store", offset + 16 * v)
              else f.laneMemory("v128.store32_lane", 0, offset)
            })
          })
          f.increment(sum, 4 * lanes * vectors)
        }
        f.assign(sum, sums)
        f.forRange(column, columnFrom, pairEnd, 8, () => add(4, 2))
        if (n % 8 > 0) f.forRange(column, column, columnEnd, 1, () => add(1, 1))
        f.increment(at, 4 * count)
      }

      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, [[batch, batches], [slab, plan.slabs], [block, plan.columnBlocks]])
        f.get(block); f.scale(plan.columns); f.set(columnFrom)
        minimum(f, columnEnd, () => f.address(columnFrom, plan.columns, 1), n)
        f.address(columnEnd, -7, 1); f.set(pairEnd)
        f.get(slab); f.scale(plan.slab); f.set(kFrom)
        minimum(f, kEnd, () => f.address(kFrom, plan.slab, 1), kSize)
        f.address(kEnd, 1 - pass, 1); f.set(passEnd)
        emitPack(f, { operand: holes.a, coords: [batch, row, k], inner: 2, innerRange: [kFrom, kEnd], group: 16, groupStride: 64,
          outer: 1, outerRange: [0, m], outerStride: aStride, to: a })

        pushSums(f, holes, dims, plan, batch, slab)
        f.get(columnFrom); f.scale(4); f.op("i32.add"); f.set(sums)
        f.get(columnEnd); f.get(columnFrom); f.op("i32.sub"); f.scale(4); f.set(bytes)
        for (let r = 0; r < m; r++) { f.address(sums, r, plan.rowBytes); f.i32(0); f.get(bytes); f.memoryFill() }
        f.assign(at, a)
        f.forRange(k, kFrom, passEnd, pass, () => addRows(pass))
        if (kSize % pass > 0) f.forRange(k, k, kEnd, 1, () => addRows(1))
      })
    },
  }
}

/** Address of the sums of a slab. */
function pushSums(f: FunctionBuilder, holes: MatmulHoles, { m }: MatmulDims, plan: Plan, batch: Local, slab: Local | number): void {
  holes.scratch(f)
  f.get(batch)
  f.scale(plan.slabs)
  f.push(slab)
  f.op("i32.add")
  f.scale(m * plan.rowBytes)
  f.op("i32.add")
}

function finishPhase(dims: MatmulDims, holes: MatmulHoles, plan: Plan): Phase {
  const { batch: batches, m, n } = dims
  const blocks = ceilDiv(n, finishColumns)
  return {
    units: batches * m * blocks,
    emit(f, begin, end) {
      const [unit, batch, row, column, columnFrom, columnEnd, vectorEnd, first, at, slab] = i32s(f, 10)
      const [total] = v128s(f, 1) as [Local]
      const scalar = f.local("f32")
      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, [[batch, batches], [row, m], [columnFrom, blocks]])
        f.get(columnFrom); f.scale(finishColumns); f.set(columnFrom)
        minimum(f, columnEnd, () => f.address(columnFrom, finishColumns, 1), n)
        f.address(columnEnd, -3, 1); f.set(vectorEnd)
        pushSums(f, holes, dims, plan, batch, 0)
        f.get(row); f.scale(plan.rowBytes); f.op("i32.add")
        f.get(columnFrom); f.scale(4); f.op("i32.add"); f.set(first)
        const writer = holes.result.along(f, 2, [batch, row, column], column)
        const add = (lanes: 1 | 4) => {
          const load = () => { f.get(at); f.load(lanes === 4 ? "v128.load" : "v128.load32_zero") }
          f.assign(at, first)
          load()
          f.set(total)
          f.forRange(slab, 1, plan.slabs, 1, () => {
            f.increment(at, m * plan.rowBytes)
            f.get(total); load(); f.op("f32x4.add"); f.set(total)
          })
          if (lanes === 4) writer.finish(4, total)
          else {
            f.get(total); f.lane("f32x4.extract_lane", 0); f.set(scalar)
            writer.finish(1, scalar)
          }
          f.increment(first, 4 * lanes)
        }
        f.forRange(column, columnFrom, vectorEnd, 4, () => add(4))
        if (n % 4 > 0) f.forRange(column, column, columnEnd, 1, () => add(1))
      })
    },
  }
}
