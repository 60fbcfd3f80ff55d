// One row times a matrix whose columns lie along k (x·Wᵀ, decoding a token). Memory is read in a few long streams, each
// through neighbouring columns: what prefetching follows without starting anew at every column, while the row, which
// the streams share, is read from cache once for all of them.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import { runLength, type DecodedRuns, type Scaled } from "../emit/decoded.ts"
import type { Features, Phase, Template } from "./holes.ts"
import { ceilDiv, i32s, minimum, roundUp, split, v128s } from "./loops.ts"
import { columnStreams, emitFinish, group, step } from "./matmul.dots.ts"
import type { MatmulDims, MatmulHoles } from "./matmul.gemm.ts"
import { emitPack } from "./pack.ts"
import { multiplyAdd } from "./tile.ts"

/** Columns per unit, and streams through them. */
const unitColumns = 64
const streamCount = 4
const sumBytes = step * 4

export function row(dims: MatmulDims, holes: MatmulHoles, features: Features): Template {
  const { batch: batches, k: kSize, n } = dims
  const aBytes = roundUp(kSize * 4, 64)
  const unitsAcross = ceilDiv(n, unitColumns), runs = holes.b.runs?.(1, 2), ownBytes = aBytes + unitColumns * sumBytes
  const phase: Phase = {
    units: batches * unitsAcross,
    emit(f, begin, end) {
      const [unit, batch, packedBatch, column, columnFrom, columnEnd, groupEnd, a, sums, sum, k, row] = i32s(f, 12)
      const [apart, streamEnd] = i32s(f, 2)
      f.assign(a, () => holes.threadScratch(f))
      f.address(a, 1, aBytes)
      f.set(sums)
      f.assign(packedBatch, -1)
      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, [[batch, batches], [columnFrom, unitsAcross]])
        f.get(columnFrom); f.scale(unitColumns); f.set(columnFrom)
        minimum(f, columnEnd, () => f.address(columnFrom, unitColumns, 1), n)
        if (runs) { f.address(a, 1, ownBytes); f.set(sum); runs.prepare(f, columnFrom, columnEnd, sum) }
        f.get(batch); f.get(packedBatch); f.op("i32.ne")
        f.if(() => {
          f.assign(packedBatch, batch)
          emitPack(f, { operand: holes.a, coords: [batch, row, k], inner: 2, innerRange: [0, kSize], group: 16, groupStride: 64,
            outer: 1, outerRange: [0, 1], outerStride: aBytes, to: a })
        })
        const u: Unit = { dims, holes, features, batch, row, k, column, a, apart, runs }
        // Every stream gets as many columns; what is left of a last, ragged unit goes one by one.
        f.get(columnEnd); f.get(columnFrom); f.op("i32.sub"); f.i32(streamCount); f.op("i32.div_u"); f.set(apart)
        f.get(columnFrom); f.get(apart); f.op("i32.add"); f.set(streamEnd)
        f.assign(sum, sums)
        f.forRange(column, columnFrom, streamEnd, 1, () => {
          emitDots(f, u, streamCount, sum)
          f.increment(sum, sumBytes)
        })
        if (n % streamCount > 0) {
          f.get(columnFrom); f.get(apart); f.scale(streamCount); f.op("i32.add"); f.set(column)
          f.get(sums); f.get(apart); f.scale(streamCount * sumBytes); f.op("i32.add"); f.set(sum)
          f.forRange(column, column, columnEnd, 1, () => {
            emitDots(f, u, 1, sum)
            f.increment(sum, sumBytes)
          })
        }
        f.assign(sum, sums)
        const finish = (count: number) => {
          emitFinish(f, u, columnStreams(f, u, count), a, sum)
          f.increment(sum, count * sumBytes)
        }
        f.assign(row, 0)
        f.address(columnEnd, 1 - group, 1)
        f.set(groupEnd)
        f.forRange(column, columnFrom, groupEnd, group, () => finish(group))
        if (n % group > 0) f.forRange(column, column, columnEnd, 1, () => finish(1))
      })
    },
  }
  return { phases: [phase], scratchBytes: 0, threadScratchBytes: ownBytes + (runs?.bytes(unitColumns) ?? 0) }
}

interface Unit {
  readonly dims: MatmulDims
  readonly holes: MatmulHoles
  readonly features: Features
  readonly batch: Local
  readonly row: Local
  readonly k: Local
  readonly column: Local
  /** Address of the copy of the row. */
  readonly a: Local
  /** Columns between streams. */
  readonly apart: Local
  /** The columns in runs along k, where they are read so. */
  readonly runs: DecodedRuns | undefined
}

/** Eight interleaved partial sums each of `count` columns, `apart` from one another from u.column on. */
function emitDots(f: FunctionBuilder, u: Unit, count: number, sum: Local): void {
  const { features: { relaxed }, dims: { k: kSize }, apart } = u
  const [at, to, run] = i32s(f, 3) as [Local, Local, Local]
  const positions = Array.from({ length: count }, (_, s) => {
    if (s === 0) return u.column
    const position = f.local("i32")
    f.get(apart); f.scale(s); f.get(u.column); f.op("i32.add"); f.set(position)
    return position
  })
  const streams = positions.map((position) => u.holes.b.along(f, 1, [u.batch, u.k, position], u.k, true))
  const sums = streams.map(() => v128s(f, 2))
  for (const s of sums.flat()) { f.f32x4(0); f.set(s) }
  f.assign(at, u.a)
  if (u.runs !== undefined) {
    const runs = positions.map((position) => u.runs!.along(f, [u.batch, u.k, position], run))
    f.forRange(run, 0, kSize / runLength, 1, () => {
      const x = v128s(f, runLength / 4)
      x.forEach((v, i) => { f.get(at); f.load("v128.load", 16 * i); f.set(v) })
      runs.forEach((own, s) => addRun(f, relaxed, own.read(), x, sums[s]!))
      f.increment(at, 4 * runLength)
    })
  } else f.forRange(u.k, 0, kSize - (kSize % step), step, () => {
    const x = v128s(f, 2)
    const weights = streams.map((stream) => stream.vectors(step / 4))
    x.forEach((v, half) => { f.get(at); f.load("v128.load", 16 * half); f.set(v) })
    sums.forEach((pair, s) => pair.forEach((local, half) => multiplyAdd(f, relaxed, () => f.get(x[half]!), () => f.get(weights[s]![half]!), local)))
    f.increment(at, sumBytes)
  })
  f.assign(to, sum)
  sums.forEach((pair) => {
    pair.forEach((local, half) => { f.get(to); f.get(local); f.store("v128.store", 16 * half) })
    f.get(to); f.get(apart); f.scale(sumBytes); f.op("i32.add"); f.set(to)
  })
}

/** sums += x · a run: what its elements share meets sums of products. */
function addRun(f: FunctionBuilder, relaxed: boolean, halves: readonly Scaled[], x: readonly Local[], sums: readonly Local[]): void {
  const parts = halves.map(({ vectors, scale }, h) => ({ scale, terms: vectors.map((w, i) => [x[4 * h + i]!, w] as const) }))
  const [low, high] = parts as [(typeof parts)[0], (typeof parts)[0]]
  for (const { scale, terms } of low.scale === high.scale ? [{ ...low, terms: [...low.terms, ...high.terms] }] : parts) {
    if (scale === undefined) { terms.forEach(([a, b], i) => multiplyAdd(f, relaxed, () => f.get(a), () => f.get(b), sums[i % 2]!)); continue }
    const own = v128s(f, 2)
    terms.forEach(([a, b], i) => {
      if (i > 1) return multiplyAdd(f, relaxed, () => f.get(a), () => f.get(b), own[i % 2]!)
      f.get(a); f.get(b); f.op("f32x4.mul"); f.set(own[i]!)
    })
    own.forEach((sum, i) => multiplyAdd(f, relaxed, () => f.get(sum), () => f.get(scale), sums[i]!))
  }
}
