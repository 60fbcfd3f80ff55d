// Softmax and normalization of rows: each row is read once, its expression evaluated into private scratch, and all passes
// over it run from there. The copy is padded to whole steps with values that change no result.
import { expr } from "@thimble/core"
import { log } from "../emit/approx.ts"
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Holes } from "../emit/kernel.ts"
import { join, largest, startAt, sum, sumOfExponentials, sumOfSquares, total, type Fold } from "./fold.ts"
import type { Stream, Template } from "./holes.ts"
import { ceilDiv, forSteps, i32s, minimum, roundUp, v128s } from "./loops.ts"
import { emitPack } from "./pack.ts"

/** Floats per step of the passes: four vectors, which the revectorizer makes two. */
const step = 16
/** Rows read together where neighbours in memory lie along the other axis: a cache line of f32. */
const group = 16

/** What the passes over one row share. */
interface Row {
  readonly f: FunctionBuilder
  readonly holes: Holes
  readonly columns: number
  /** Address of the row's copy. */
  readonly at: Local
  /** Address of 64 bytes for partial results. */
  readonly partial: Local
  readonly row: Local
  readonly column: Local
  /** Streams along the columns, made once per call. */
  readonly weight: Stream | undefined
  readonly bias: Stream | undefined
}

/** Emits `each` for every row of operand x, given its copy, padded with `first.start`, and the first fold over it. */
function rows(holes: Holes, first: Fold, each: (r: Row, folded: Local) => void): Template {
  const { rows: count, columns } = holes.dims as { rows: number; columns: number }
  const x = holes.operands.x!
  const together = x.contiguous === 0 ? group : 1
  const rowBytes = roundUp(columns, step) * 4 + step * 4
  return {
    scratchBytes: 0,
    threadScratchBytes: 64 + together * rowBytes,
    phases: [{
      units: ceilDiv(count, together),
      emit(f, begin, end) {
        const [unit, row, rowFrom, rowEnd, column, partial, at, copies] = i32s(f, 8)
        holes.threadScratch(f); f.set(partial)
        f.address(partial, 64, 1); f.set(copies)
        const vector = (name: string): Stream | undefined => holes.operands[name]?.along(f, 0, [column], column)
        const r: Row = { f, holes, columns, at, partial, row, column, weight: vector("weight"), bias: vector("bias") }
        f.forRange(unit, begin, end, 1, () => {
          f.assign(at, copies)
          if (together === 1) {
            f.assign(row, unit)
            return each(r, foldRow(r, first, x.along(f, 1, [row, column], column)))
          }
          f.get(unit); f.scale(together); f.set(rowFrom)
          minimum(f, rowEnd, () => f.address(rowFrom, together, 1), count)
          emitPack(f, { operand: x, coords: [row, column], inner: 1, innerRange: [0, columns], group: 16, groupStride: 64,
            outer: 0, outerRange: [rowFrom, rowEnd], outerStride: rowBytes, to: copies })
          f.forRange(row, rowFrom, rowEnd, 1, () => {
            padding(r, () => f.f32x4(first.start))
            each(r, foldRow(r, first))
            f.increment(at, rowBytes)
          })
        })
      },
    }],
  }
}

/** Writes a vector over what follows the row's last element, as far as the last step reads. */
function padding({ f, columns, at }: Row, push: () => void): void {
  const value = f.local("v128")
  push()
  f.set(value)
  for (let i = columns; i < roundUp(columns, step); i += 4) {
    f.get(at)
    f.get(value)
    f.store("v128.store", 4 * i, 2)
  }
}

/** Calls `body` for all columns with the number of vectors it is to do; 0 for a single element. */
function sweep({ f, column }: Row, from: number, columns: number, body: (vectors: number) => void): void {
  const width = [16, 8, 4].find((w) => columns >= w) ?? 1
  forSteps(f, column, from, columns, columns, width, () => body(width >> 2))
}

/** Folds over a row's copy; given a stream of the row, the copy is made on the way. */
function foldRow(r: Row, fold: Fold, x?: Stream): Local {
  const { f, at, columns, column } = r
  const accumulators = startAt(f, fold.start, step / 4)
  const copied = (): Local[] => {
    const values = v128s(f, step / 4)
    const [from] = i32s(f, 1) as [Local]
    f.address(at, column, 4)
    f.set(from)
    values.forEach((v, i) => { f.get(from); f.load("v128.load", 16 * i); f.set(v) })
    return values
  }
  const copy = (vectors: number): Local[] => {
    const [to] = i32s(f, 1) as [Local]
    f.address(at, column, 4)
    f.set(to)
    const values = x!.vectors(vectors)
    values.forEach((v, i) => { f.get(to); f.get(v); f.store("v128.store", 16 * i, 2) })
    return values
  }
  const whole = x === undefined ? roundUp(columns, step) : columns - (columns % step)
  f.forRange(column, 0, whole, step, () => join(f, fold, accumulators, x === undefined ? copied() : copy(step / 4)))
  if (whole < columns) {
    padding(r, () => f.f32x4(fold.start))
    sweep(r, whole, columns, (vectors) => {
      if (vectors > 0) copy(vectors)
      else { f.address(at, column, 4); x!.value(1); f.store("f32.store") }
    })
    f.assign(column, whole)
    join(f, fold, accumulators, copied())
  }
  return total(f, fold, accumulators, r.partial)
}

/** Writes the results: `value` pushes the vector made of the copy's vector in a local. */
function finish(r: Row, value: (x: Local) => void): void {
  const { f, at, column, weight, bias } = r
  const writer = r.holes.result.along(f, 1, [r.row, column], column)
  const scalar = f.local("f32")
  sweep(r, 0, r.columns, (vectors) => {
    const [from] = i32s(f, 1) as [Local]
    const x = v128s(f, Math.max(1, vectors))
    f.address(at, column, 4)
    f.set(from)
    x.forEach((v, i) => { f.get(from); f.load(vectors === 0 ? "v128.load32_splat" : "v128.load", 16 * i, 2); f.set(v) })
    for (const v of x) { value(v); f.set(v) }
    for (const [stream, op] of [[weight, "f32x4.mul"], [bias, "f32x4.add"]] as const) {
      if (stream === undefined) continue
      if (vectors > 0) stream.vectors(vectors).forEach((w, i) => { f.get(x[i]!); f.get(w); f.op(op); f.set(x[i]!) })
      else { f.get(x[0]!); stream.value(1); f.op("f32x4.splat", op); f.set(x[0]!) }
    }
    if (vectors > 0) return writer.finishVectors(x)
    f.get(x[0]!); f.lane("f32x4.extract_lane", 0); f.set(scalar)
    writer.finish(1, scalar)
  })
}

const exponentials = (r: Row, most: Local, keep: boolean): Local =>
  sumOfExponentials(r.f, r.holes, { at: r.at, count: roundUp(r.columns, step), position: r.column, partial: r.partial, most, keep })

/** eˣ⁻ᵐ/Σ eˣ⁻ᵐ for the largest element m. */
export function softmax(holes: Holes): Template {
  return rows(holes, largest, (r, most) => {
    const { f } = r
    const [inverse] = v128s(f, 1) as [Local]
    const all = exponentials(r, most, true)
    f.f32x4(1); f.get(all); f.op("f32x4.div"); f.set(inverse)
    finish(r, (e) => { f.get(e); f.get(inverse); f.op("f32x4.mul") })
  })
}

/** x − m − ln Σ eˣ⁻ᵐ. */
export function logSoftmax(holes: Holes): Template {
  return rows(holes, largest, (r, most) => {
    const { f } = r
    const [offset] = v128s(f, 1) as [Local]
    const logarithm = log(expr.acc("f32"))
    const stream = holes.compute(f, logarithm, r.column, r.at)
    stream.accumulate(exponentials(r, most, false))
    stream.value(logarithm, 4); f.set(offset)
    finish(r, (x) => { f.get(x); f.get(most); f.op("f32x4.sub"); f.get(offset); f.op("f32x4.sub") })
  })
}

/** 1/√(sum of squares / columns + eps) in all lanes. */
function rate({ f, holes, columns }: Row, squares: Local): Local {
  const [value] = v128s(f, 1) as [Local]
  f.f32x4(1)
  f.get(squares); f.f32x4(columns); f.op("f32x4.div")
  f.f32x4(holes.dims.eps!); f.op("f32x4.add", "f32x4.sqrt", "f32x4.div")
  f.set(value)
  return value
}

/** (x − mean)/√(variance + eps)·weight + bias; the variance in a second pass, from the differences. */
export function layerNorm(holes: Holes): Template {
  return rows(holes, sum, (r, all) => {
    const { f } = r
    const [mean] = v128s(f, 1) as [Local]
    f.get(all); f.f32x4(r.columns); f.op("f32x4.div"); f.set(mean)
    padding(r, () => f.get(mean))
    const centered = (x: Local): void => { f.get(x); f.get(mean); f.op("f32x4.sub") }
    const scale = rate(r, foldRow(r, { ...sum, value: (_, x) => { centered(x); f.set(x); sumOfSquares.value(f, x) } }))
    finish(r, (x) => { centered(x); f.get(scale); f.op("f32x4.mul") })
  })
}

/** x/√(mean of squares + eps)·weight. */
export function rmsNorm(holes: Holes): Template {
  return rows(holes, sumOfSquares, (r, squares) => {
    const { f } = r
    const scale = rate(r, squares)
    finish(r, (x) => { f.get(x); f.get(scale); f.op("f32x4.mul") })
  })
}
