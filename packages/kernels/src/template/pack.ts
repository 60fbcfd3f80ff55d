// Copies a block of an operand into scratch, so that the loops behind it read with stride one and aligned.
import type { FunctionBuilder, Index, Local } from "../emit/assembler.ts"
import type { Operand, Stream } from "./holes.ts"
import { endOfSteps, i32s, v128s } from "./loops.ts"

export interface Block {
  readonly operand: Operand
  /** Coordinates; those of `inner` and `outer` are overwritten (so the ranges must not be held in them). */
  readonly coords: readonly Local[]
  /** The axis that is adjacent in the copy, in groups of `group` (a multiple of 4) elements. */
  readonly inner: number
  readonly innerRange: readonly [from: Index, to: Index]
  readonly group: number
  /** Bytes between groups. */
  readonly groupStride: number
  readonly outer: number
  readonly outerRange: readonly [from: Index, to: Index]
  /** Bytes between neighbours along the outer axis. */
  readonly outerStride: number
  /** Whether the outer range begins at a multiple of four. */
  readonly aligned?: boolean
  /** Address of the first element. */
  readonly to: Local
}

/** Reads four lanes along whichever axis is contiguous; along the outer one by 4×4 transposes in registers. */
export function emitPack(f: FunctionBuilder, block: Block): void {
  if (block.operand.contiguous === block.outer) packTransposed(f, block)
  else packStraight(f, block)
}

function packStraight(f: FunctionBuilder, block: Block): void {
  const { operand, coords, inner, outer, group, groupStride, outerStride } = block
  const [i, o] = [coordinate(coords, inner), coordinate(coords, outer)]
  const [row, at, fullEnd, vectorEnd, innerEnd] = i32s(f, 5)
  f.assign(innerEnd, block.innerRange[1])
  endOfSteps(f, vectorEnd, block.innerRange[0], innerEnd, 4)
  endOfSteps(f, fullEnd, block.innerRange[0], innerEnd, group)
  f.assign(row, block.to)
  f.forRange(o, block.outerRange[0], block.outerRange[1], 1, () => {
    const stream = operand.along(f, inner, coords, i)
    const copy = (lanes: 1 | 4, offset: number) => {
      f.get(at)
      stream.value(lanes, offset)
      f.store(lanes === 4 ? "v128.store" : "f32.store", 4 * offset)
    }
    f.assign(at, row)
    f.forRange(i, block.innerRange[0], fullEnd, group, () => {
      for (let offset = 0; offset < group; offset += 4) copy(4, offset)
      f.increment(at, groupStride)
    })
    f.forRange(i, i, vectorEnd, 4, () => {
      copy(4, 0)
      f.increment(at, 16)
    })
    f.forRange(i, i, innerEnd, 1, () => {
      copy(1, 0)
      f.increment(at, 4)
    })
    f.increment(row, outerStride)
  })
}

function packTransposed(f: FunctionBuilder, block: Block): void {
  const { operand, coords, inner, outer, group, groupStride, outerStride } = block
  const [i, o] = [coordinate(coords, inner), coordinate(coords, outer)]
  const [column, at, innerFullEnd, innerVectorEnd, outerVectorEnd, innerFrom, innerEnd, outerEnd] = i32s(f, 8)
  f.assign(innerFrom, block.innerRange[0])
  f.assign(innerEnd, block.innerRange[1])
  f.assign(outerEnd, block.outerRange[1])
  endOfSteps(f, innerFullEnd, innerFrom, innerEnd, group)
  endOfSteps(f, innerVectorEnd, innerFrom, innerEnd, 4)
  endOfSteps(f, outerVectorEnd, block.outerRange[0], outerEnd, 4)

  /** column = address of inner position i, for the first outer position. */
  const startColumn = () => {
    f.get(block.to)
    f.get(i); f.get(innerFrom); f.op("i32.sub")
    f.tee(column)
    f.i32(group)
    f.op("i32.div_u")
    f.scale(groupStride)
    f.op("i32.add")
    f.get(column)
    f.i32(group)
    f.op("i32.rem_u")
    f.scale(4)
    f.op("i32.add")
    f.set(column)
    f.assign(at, column)
  }
  /** Streams of `count` neighbouring inner positions from i on. */
  const streams = (count: number): Stream[] =>
    Array.from({ length: count }, (_, c) => {
      const position = c === 0 ? i : f.local("i32")
      if (c > 0) { f.address(i, c, 1); f.set(position) }
      return operand.along(f, outer, coords.with(inner, position), o, block.aligned)
    })
  const scalars = (sources: Stream[], from: Index) =>
    f.forRange(o, from, outerEnd, 1, () => {
      sources.forEach((source, c) => {
        f.get(at)
        source.value(1)
        f.store("f32.store", 4 * c)
      })
      f.increment(at, outerStride)
    })

  /** `count` neighbouring inner positions: whole cache lines of the copy at once. */
  const columns = (count: number) => {
    startColumn()
    const sources = streams(count)
    const vectors = v128s(f, 4)
    f.forRange(o, block.outerRange[0], outerVectorEnd, 4, () => {
      for (let first = 0; first < count; first += 4) {
        vectors.forEach((vector, c) => { sources[first + c]!.value(4); f.set(vector) })
        transpose4(f, vectors)
        vectors.forEach((vector, r) => {
          f.get(at)
          f.get(vector)
          f.store("v128.store", r * outerStride + 4 * first)
        })
      }
      f.increment(at, 4 * outerStride)
    })
    scalars(sources, o)
  }
  f.forRange(i, innerFrom, innerFullEnd, group, () => columns(group))
  f.forRange(i, i, innerVectorEnd, 4, () => columns(4))
  f.forRange(i, i, innerEnd, 1, () => {
    startColumn()
    scalars(streams(1), block.outerRange[0])
  })
}

/** Transposes the 4×4 matrix held in four v128 locals, in place. */
export function transpose4(f: FunctionBuilder, rows: readonly Local[]): void {
  const [a, b, c, d] = rows as [Local, Local, Local, Local]
  const [ab, cd, abHigh, cdHigh] = Array.from({ length: 4 }, () => f.local("v128")) as [Local, Local, Local, Local]
  const mix = (x: Local, y: Local, lanes: [number, number, number, number], to: Local) => {
    f.get(x); f.get(y); f.shuffle32(...lanes); f.set(to)
  }
  mix(a, b, [0, 4, 1, 5], ab)
  mix(c, d, [0, 4, 1, 5], cd)
  mix(a, b, [2, 6, 3, 7], abHigh)
  mix(c, d, [2, 6, 3, 7], cdHigh)
  mix(ab, cd, [0, 1, 4, 5], a)
  mix(ab, cd, [2, 3, 6, 7], b)
  mix(abHigh, cdHigh, [0, 1, 4, 5], c)
  mix(abHigh, cdHigh, [2, 3, 6, 7], d)
}

function coordinate(coords: readonly Local[], axis: number): Local {
  const local = coords[axis]
  if (local === undefined) throw new Error(`pack: no coordinate for axis ${axis}`)
  return local
}
