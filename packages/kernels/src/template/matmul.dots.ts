// Matrix product for few rows where k is contiguous in b (x·Wᵀ, decoding): every weight is read from memory once, in
// long runs, unpacked. a, a few rows only, is copied to private scratch, so that its prologue runs once per thread and
// not once per column.
import type { FunctionBuilder, Index, Local } from "../emit/assembler.ts"
import type { Features, Phase, Stream, Template } from "./holes.ts"
import { ceilDiv, i32s, minimum, roundUp, split, v128s } from "./loops.ts"
import type { MatmulDims, MatmulHoles } from "./matmul.gemm.ts"
import { emitPack, transpose4 } from "./pack.ts"
import { multiplyAdd } from "./tile.ts"

/** Columns per unit: enough units for any number of threads, few enough copies of a. */
const unitColumns = 16
/** Columns finished together: one vector of results. */
export const group = 4
/** Floats per step in k: two vectors, which the revectorizer joins. */
export const step = 8
/** With more rows than one tile: how far in k before the next rows, so that the columns stay in the first-level cache. */
const kBlock = 512

/**
 * Each element is eight interleaved partial sums, added up in one fixed order: the same bits whatever the tile. Tiles
 * keep 8 accumulators of 256 bits (or of 128, without the revectorizer).
 */
const tileOf = (rows: number, wide: boolean) => {
  const height = Math.min(rows, wide ? 4 : 2)
  return { height, columns: height === 1 || (wide && height === 2) ? 4 : 2 }
}

export function dots(dims: MatmulDims, holes: MatmulHoles, features: Features): Template {
  const aStride = roundUp(dims.k * 4, 64)
  const unitsAcross = ceilDiv(dims.n, unitColumns)
  const phase: Phase = {
    units: dims.batch * unitsAcross,
    emit(f, begin, end) {
      const [unit, batch, packedBatch, column, columnFrom, columnEnd, vectorEnd, a, sums, k, row] = i32s(f, 11)
      f.assign(a, () => holes.threadScratch(f))
      f.address(a, dims.m, aStride)
      f.set(sums)
      f.assign(packedBatch, -1)
      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, [[batch, dims.batch], [columnFrom, unitsAcross]])
        f.get(columnFrom); f.scale(unitColumns); f.set(columnFrom)
        minimum(f, columnEnd, () => f.address(columnFrom, unitColumns, 1), dims.n)
        f.get(batch); f.get(packedBatch); f.op("i32.ne")
        f.if(() => {
          f.assign(packedBatch, batch)
          emitPack(f, { operand: holes.a, coords: [batch, row, k], inner: 2, innerRange: [0, dims.k], group: 16, groupStride: 64,
            outer: 1, outerRange: [0, dims.m], outerStride: aStride, to: a })
        })
        const u: Unit = { dims, holes, features, a, aStride, sums, batch, row, k, column }
        f.address(columnEnd, 1 - group, 1)
        f.set(vectorEnd)
        f.forRange(column, columnFrom, vectorEnd, group, () => emitColumns(f, u, group))
        if (dims.n % group > 0) f.forRange(column, column, columnEnd, 1, () => emitColumns(f, u, 1))
      })
    },
  }
  const sumBytes = dims.m * group * step * 4
  return { phases: [phase], scratchBytes: 0, threadScratchBytes: dims.m * aStride + sumBytes }
}

export interface Unit {
  readonly dims: MatmulDims
  readonly holes: MatmulHoles
  readonly features: Features
  /** Address of the copy of a, rows `aStride` bytes apart. */
  readonly a: Local
  readonly aStride: number
  /** Address of the partial sums: [row][column of the group][8]. */
  readonly sums: Local
  readonly batch: Local
  readonly row: Local
  readonly k: Local
  readonly column: Local
}

/** All rows of `count` columns from u.column on; count is 4, or 1 for what is left. */
function emitColumns(f: FunctionBuilder, u: Unit, count: 1 | 4): void {
  const { m, k: kSize } = u.dims
  const { height } = tileOf(m, u.features.wide)
  const kVectors = kSize - (kSize % step)
  const blocks = m > height ? ceilDiv(kVectors, kBlock) : 1
  const [top, at, sums, kFrom, kEnd] = i32s(f, 5)
  const streams = columnStreams(f, u, count)
  const rowBytes = count * step * 4

  const rows = (kRange: readonly [Index, Index]) => {
    const tile = (rowCount: number) => emitTile(f, u, streams, { rows: rowCount, at, sums, kRange, fresh: blocks <= 1 })
    f.address(u.a, kRange[0], 4)
    f.set(at)
    f.assign(sums, u.sums)
    f.forRange(top, 0, m - (m % height), height, () => {
      tile(height)
      f.increment(at, height * u.aStride)
      f.increment(sums, height * rowBytes)
    })
    if (m % height > 0) tile(m % height)
  }
  if (blocks <= 1) rows([0, kVectors])
  else {
    f.get(u.sums); f.i32(0); f.i32(m * rowBytes); f.memoryFill()
    f.forRange(kFrom, 0, kVectors, kBlock, () => {
      minimum(f, kEnd, () => f.address(kFrom, kBlock, 1), kVectors)
      rows([kFrom, kEnd])
    })
  }
  f.assign(sums, u.sums)
  f.assign(at, u.a)
  f.forRange(u.row, 0, m, 1, () => {
    emitFinish(f, u, streams, at, sums)
    f.increment(at, u.aStride)
    f.increment(sums, rowBytes)
  })
}

/** Streams along k of `count` columns from u.column on. */
export function columnStreams(f: FunctionBuilder, u: Pick<Unit, "holes" | "batch" | "k" | "column">, count: number): Stream[] {
  return Array.from({ length: count }, (_, c) => {
    if (c === 0) return u.column
    const position = f.local("i32")
    f.address(u.column, c, 1); f.set(position)
    return position
  }).map((position) => u.holes.b.along(f, 1, [u.batch, u.k, position], u.k, true))
}

interface Tile {
  readonly rows: number
  /** Address of a[first row][start of the range of k]. */
  readonly at: Local
  /** Address of the first row's partial sums. */
  readonly sums: Local
  readonly kRange: readonly [Index, Index]
  /** The sums start at 0 instead of being read. */
  readonly fresh: boolean
}

/** sums += a · b for some rows and all the streams' columns, over a range of k. */
function emitTile(f: FunctionBuilder, u: Unit, streams: readonly Stream[], tile: Tile): void {
  const [element] = i32s(f, 1)
  const width = Math.min(streams.length, tileOf(tile.rows, u.features.wide).columns)
  for (let first = 0; first < streams.length; first += width) {
    const columns = streams.slice(first, first + width)
    const accumulators = Array.from({ length: tile.rows }, () => columns.map(() => v128s(f, 2)))
    const each = (body: (accumulator: Local, offset: number) => void) => accumulators.forEach((row, r) =>
      row.forEach((pair, c) => pair.forEach((accumulator, half) => body(accumulator, ((r * streams.length + first + c) * 2 + half) * 16))))
    const x = v128s(f, 2)
    each((accumulator, offset) => {
      if (tile.fresh) f.f32x4(0)
      else { f.get(tile.sums); f.load("v128.load", offset) }
      f.set(accumulator)
    })
    f.assign(element, tile.at)
    f.forRange(u.k, tile.kRange[0], tile.kRange[1], step, () => {
      const weights = columns.map((stream) => stream.vectors(step / 4))
      accumulators.forEach((row, r) => {
        x.forEach((local, half) => { f.get(element); f.load("v128.load", r * u.aStride + 16 * half); f.set(local) })
        row.forEach((pair, c) => pair.forEach((accumulator, half) =>
          multiplyAdd(f, u.features.relaxed, () => f.get(x[half]!), () => f.get(weights[c]![half]!), accumulator)))
      })
      f.increment(element, 4 * step)
    })
    each((accumulator, offset) => { f.get(tile.sums); f.get(accumulator); f.store("v128.store", offset) })
  }
}

/** Adds up the partial sums of one row, then what is left of k, and finishes: lane c is the result of column c. */
export function emitFinish(f: FunctionBuilder, u: Omit<Unit, "a" | "aStride" | "sums">, streams: readonly Stream[], at: Local, sums: Local): void {
  const { k: kSize } = u.dims
  const kVectors = kSize - (kSize % step)
  const quad = v128s(f, 4)
  const [weight, total] = v128s(f, 2) as [Local, Local]
  const [scalar, element] = [f.local("f32"), f.local("i32")]
  streams.forEach((_, c) => {
    for (const half of [0, 16]) { f.get(sums); f.load("v128.load", c * step * 4 + half) }
    f.op("f32x4.add")
    f.set(quad[c]!)
  })
  transpose4(f, quad)
  f.get(quad[0]!); f.get(quad[1]!); f.op("f32x4.add")
  f.get(quad[2]!); f.get(quad[3]!); f.op("f32x4.add", "f32x4.add")
  f.set(total)
  if (kVectors < kSize) {
    f.address(at, kVectors, 4)
    f.set(element)
    f.forRange(u.k, kVectors, kSize, 1, () => {
      streams.forEach((stream, c) => {
        if (c > 0) f.get(weight)
        stream.value(1)
        if (c > 0) f.lane("f32x4.replace_lane", c)
        else f.op("f32x4.splat")
        f.set(weight)
      })
      multiplyAdd(f, u.features.relaxed, () => { f.get(element); f.load("v128.load32_splat") }, () => f.get(weight), total)
      f.increment(element, 4)
    })
  }
  const writer = u.holes.result.along(f, 2, [u.batch, u.row, u.column], u.column)
  if (streams.length === 4) writer.finish(4, total)
  else {
    f.get(total); f.lane("f32x4.extract_lane", 0); f.set(scalar)
    writer.finish(1, scalar)
  }
}
