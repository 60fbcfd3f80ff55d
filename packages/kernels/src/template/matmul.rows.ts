// Matrix product for a few rows (decoding): every weight is read once, so memory sets the pace. Nothing of b is packed;
// a, a few rows only, is copied to private scratch so that its prologue runs once per thread and not once per column.
// Two forms, by the layout of b: dot products down several columns at once where k is contiguous (x·Wᵀ), and sums of
// rows scaled by elements of a where n is.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Features, Phase, Template } from "./holes.ts"
import { i32s, minimum, split } from "./loops.ts"
import type { MatmulDims, MatmulHoles } from "./matmul.gemm.ts"
import { emitPack, transpose4 } from "./pack.ts"
import { multiplyAdd } from "./tile.ts"

const roundUp = (a: number, b: number) => Math.ceil(a / b) * b

/** Rows for which this form beats packing. Measured by bench/kernels/matmul.ts. */
export const rowsMaximum = 4

/** Columns per unit of the dot form: enough units for any number of threads, few enough calls. */
const dotColumns = 16
/** Columns per unit of the axpy form: 1 KiB of each row of b in sequence, and sums that stay in the first-level cache. */
const axpyColumns = 4096
/** Rows of b per pass over the sums. */
const axpyRows = 8

export function fewRows(dims: MatmulDims, holes: MatmulHoles, features: Features): Template {
  const dots = holes.b.contiguous === 1
  const aStride = roundUp(dims.k * 4, 64)
  const columns = dots ? dotColumns : axpyColumns
  const unitsAcross = Math.ceil(dims.n / columns)
  const phase: Phase = {
    units: dims.batch * unitsAcross,
    emit(f, begin, end) {
      const [unit, batch, packedBatch, column, columnFrom, columnEnd, a, k] = i32s(f, 8)
      const row = f.local("i32")
      f.assign(a, () => holes.threadScratch(f))
      f.assign(packedBatch, -1)
      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, [[batch, dims.batch], [columnFrom, unitsAcross]])
        f.get(columnFrom); f.scale(columns); f.set(columnFrom)
        minimum(f, columnEnd, () => f.address(columnFrom, columns, 1), dims.n)
        f.get(batch); f.get(packedBatch); f.op("i32.ne")
        f.if(() => {
          f.assign(packedBatch, batch)
          emitPack(f, { operand: holes.a, coords: [batch, row, k], inner: 2, innerRange: [0, dims.k], group: 16, groupStride: 64,
            outer: 1, outerRange: [0, dims.m], outerStride: aStride, to: a })
        })
        const u: Unit = { dims, holes, features, a, aStride, batch, row, k, column, columnFrom, columnEnd }
        if (dots) emitDots(f, u)
        else emitAxpy(f, u)
      })
    },
  }
  return { phases: [phase], scratchBytes: 0, threadScratchBytes: dims.m * (aStride + (dots ? 0 : axpyColumns * 4)) }
}

interface Unit {
  readonly dims: MatmulDims
  readonly holes: MatmulHoles
  readonly features: Features
  /** Address of the copy of a, rows `aStride` bytes apart. */
  readonly a: Local
  readonly aStride: number
  readonly batch: Local
  readonly row: Local
  readonly k: Local
  readonly column: Local
  readonly columnFrom: Local
  readonly columnEnd: Local
}

/** Dot products: lanes are four neighbours in k; four columns at a time, so that one transpose gives four results. */
function emitDots(f: FunctionBuilder, u: Unit): void {
  const { dims: { m, k: kSize }, holes, features: { relaxed } } = u
  // One row: two accumulators per column, since four chains alone would wait for each other.
  const unroll = m === 1 ? 2 : 1
  const step = 4 * unroll
  const kVectors = kSize - (kSize % step)
  const [at, vectorEnd] = i32s(f, 2)
  const [element, scalar] = [f.local("v128"), f.local("f32")]

  const columns = (count: 1 | 4) => {
    const positions = Array.from({ length: count }, (_, c) => {
      if (c === 0) return u.column
      const position = f.local("i32")
      f.address(u.column, c, 1); f.set(position)
      return position
    })
    const streams = positions.map((position) => holes.b.along(f, 1, [u.batch, u.k, position], u.k))
    const sums = Array.from({ length: unroll }, () => Array.from({ length: m }, () => vectors(f, count)))
    for (const sum of sums.flat(2)) { f.f32x4(0); f.set(sum) }
    const weights = vectors(f, count)
    f.assign(at, u.a)
    f.forRange(u.k, 0, kVectors, step, () => {
      sums.forEach((rows, part) => {
        streams.forEach((stream, c) => { stream.value(4, 4 * part); f.set(weights[c]!) })
        rows.forEach((row, r) => {
          f.get(at); f.load("v128.load", r * u.aStride + 16 * part); f.set(element)
          row.forEach((sum, c) => multiplyAdd(f, relaxed, () => f.get(element), () => f.get(weights[c]!), sum))
        })
      })
      f.increment(at, 4 * step)
    })
    const rows = sums[0]!
    if (unroll === 2) sums[1]!.forEach((row, r) => row.forEach((sum, c) => { f.get(sum); f.get(rows[r]![c]!); f.op("f32x4.add"); f.set(rows[r]![c]!) }))
    // One vector per row of a: lane c is the sum of column c.
    const totals = rows.map((row) => {
      const quad = count === 4 ? row : [row[0]!, ...vectors(f, 3)]
      transpose4(f, quad)
      f.get(quad[0]!); f.get(quad[1]!); f.op("f32x4.add")
      f.get(quad[2]!); f.get(quad[3]!); f.op("f32x4.add")
      f.op("f32x4.add"); f.set(quad[0]!)
      return quad[0]!
    })
    if (kVectors < kSize) {
      f.assign(u.k, kVectors)
      f.forRange(u.k, kVectors, kSize, 1, () => {
        streams.forEach((stream, c) => {
          if (c > 0) f.get(weights[0]!)
          stream.value(1)
          if (c > 0) f.lane("f32x4.replace_lane", c)
          else f.op("f32x4.splat")
          f.set(weights[0]!)
        })
        totals.forEach((total, r) => multiplyAdd(f, relaxed, () => { f.get(at); f.load("v128.load32_splat", r * u.aStride) }, () => f.get(weights[0]!), total))
        f.increment(at, 4)
      })
    }
    totals.forEach((total, r) => {
      f.assign(u.row, r)
      const writer = holes.result.along(f, 2, [u.batch, u.row, u.column], u.column)
      if (count === 4) writer.finish(4, total)
      else {
        f.get(total); f.lane("f32x4.extract_lane", 0); f.set(scalar)
        writer.finish(1, scalar)
      }
    })
  }
  f.get(u.columnEnd); f.i32(3); f.op("i32.sub"); f.set(vectorEnd)
  f.forRange(u.column, u.columnFrom, vectorEnd, 4, () => columns(4))
  f.forRange(u.column, u.column, u.columnEnd, 1, () => columns(1))
}

/** Sums of scaled rows: lanes are four neighbours in n; several rows of b per pass over the sums in scratch. */
function emitAxpy(f: FunctionBuilder, u: Unit): void {
  const { dims: { m, k: kSize }, holes, features: { relaxed } } = u
  const [sums, sum, at, vectorEnd] = i32s(f, 4)
  const [vector, scalar] = [f.local("v128"), f.local("f32")]
  f.address(u.a, m * u.aStride, 1)
  f.set(sums)
  f.get(sums); f.i32(0); f.i32(m * axpyColumns * 4); f.memoryFill()
  f.get(u.columnEnd); f.i32(3); f.op("i32.sub"); f.set(vectorEnd)

  /** sums += a[rows, k … k + count] · b[k … k + count, columns]. */
  const pass = (count: number) => {
    const streams = Array.from({ length: count }, (_, c) => {
      const position = f.local("i32")
      f.address(u.k, c, 1); f.set(position)
      return holes.b.along(f, 2, [u.batch, position, u.column], u.column)
    })
    const elements = Array.from({ length: m }, (_, r) => Array.from({ length: count }, (_, c) => {
      const element = f.local("v128")
      f.get(at); f.load("v128.load32_splat", r * u.aStride + 4 * c); f.set(element)
      return element
    }))
    const weights = vectors(f, count)
    const accumulators = vectors(f, m)
    const add = (lanes: 1 | 4) => {
      streams.forEach((stream, c) => {
        stream.value(lanes)
        if (lanes === 1) f.op("f32x4.splat")
        f.set(weights[c]!)
      })
      accumulators.forEach((accumulator, r) => {
        const offset = r * axpyColumns * 4
        f.get(sum); f.load(lanes === 4 ? "v128.load" : "v128.load32_splat", offset); f.set(accumulator)
        weights.forEach((weight, c) => multiplyAdd(f, relaxed, () => f.get(elements[r]![c]!), () => f.get(weight), accumulator))
        f.get(sum); f.get(accumulator)
        if (lanes === 4) f.store("v128.store", offset)
        else f.laneMemory("v128.store32_lane", 0, offset)
      })
      f.increment(sum, 4 * lanes)
    }
    f.assign(sum, sums)
    f.forRange(u.column, u.columnFrom, vectorEnd, 4, () => add(4))
    f.forRange(u.column, u.column, u.columnEnd, 1, () => add(1))
    f.increment(at, 4 * count)
  }
  const count = Math.max(1, Math.floor(axpyRows / (m > 2 ? 2 : 1)))
  const full = kSize - (kSize % count)
  f.assign(at, u.a)
  f.forRange(u.k, 0, full, count, () => pass(count))
  f.forRange(u.k, full, kSize, 1, () => pass(1))

  for (let r = 0; r < m; r++) {
    f.assign(u.row, r)
    const writer = holes.result.along(f, 2, [u.batch, u.row, u.column], u.column)
    f.assign(sum, sums)
    f.forRange(u.column, u.columnFrom, vectorEnd, 4, () => {
      f.get(sum); f.load("v128.load", r * axpyColumns * 4); f.set(vector)
      writer.finish(4, vector)
      f.increment(sum, 16)
    })
    f.forRange(u.column, u.column, u.columnEnd, 1, () => {
      f.get(sum); f.load("f32.load", r * axpyColumns * 4); f.set(scalar)
      writer.finish(1, scalar)
      f.increment(sum, 4)
    })
  }
}

const vectors = (f: FunctionBuilder, count: number): Local[] => Array.from({ length: count }, () => f.local("v128"))
