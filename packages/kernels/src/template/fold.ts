// Joining the elements of a row that lies in scratch: vectors of partial results side by side, then their lanes.
import { expr } from "@thimble/core"
import { expOfNegative } from "../emit/approx.ts"
import type { FunctionBuilder, Local, PlainOp } from "../emit/assembler.ts"
import type { Holes } from "../emit/kernel.ts"
import { v128s } from "./loops.ts"

/** What is joined over a row: `value` pushes a vector made of the one in a local. */
export interface Fold {
  readonly start: number
  readonly op: PlainOp
  value(f: FunctionBuilder, x: Local): void
}

/** A NaN does not win here, but makes every sum NaN. */
export const largest: Fold = { start: -Infinity, op: "f32x4.pmax", value: (f, x) => f.get(x) }
export const sum: Fold = { start: 0, op: "f32x4.add", value: (f, x) => f.get(x) }
export const sumOfSquares: Fold = { start: 0, op: "f32x4.add", value: (f, x) => { f.get(x); f.get(x); f.op("f32x4.mul") } }

export function startAt(f: FunctionBuilder, start: number, vectors: number): Local[] {
  const accumulators = v128s(f, vectors)
  for (const a of accumulators) { f.f32x4(start); f.set(a) }
  return accumulators
}

/** Each accumulator joined with its value. */
export function join(f: FunctionBuilder, { op, value }: Fold, accumulators: readonly Local[], values: readonly Local[]): void {
  accumulators.forEach((a, i) => {
    f.get(a)
    value(f, values[i]!)
    f.op(op)
    f.set(a)
  })
}

/**
 * All lanes of all accumulators joined, in every lane of the result: in one order, whatever the threads. `partial` is the
 * address of 64 bytes of scratch.
 */
export function total(f: FunctionBuilder, { op }: Fold, accumulators: readonly Local[], partial: Local): Local {
  const [all] = v128s(f, 1) as [Local]
  // Through memory: neighbouring stores are where the revectorizer starts from.
  accumulators.forEach((a, i) => { f.get(partial); f.get(a); f.store("v128.store", 16 * i) })
  accumulators.forEach((_, i) => {
    f.get(partial); f.load("v128.load", 16 * i)
    if (i > 0) f.op(op)
  })
  f.set(all)
  for (const [a, b, c, d] of [[2, 3, 0, 1], [1, 0, 3, 2]] as const) {
    f.get(all); f.get(all); f.get(all); f.shuffle32(a, b, c, d)
    f.op(op)
    f.set(all)
  }
  return all
}

/** A row's copy, and where the sum of its exponentials is taken. */
export interface Exponentials {
  readonly at: Local
  /** Floats; a multiple of 8. */
  readonly count: number | Local
  readonly position: Local
  readonly partial: Local
  /** What is subtracted first, in all lanes; the largest element, or more. */
  readonly most: Local
  /** Whether the copy holds the terms afterwards. */
  readonly keep: boolean
}

/** Σ eˣ⁻ᵐ over the copy, in all lanes. */
export function sumOfExponentials(f: FunctionBuilder, holes: Holes, { at, count, position, partial, most, keep }: Exponentials): Local {
  const term = expOfNegative(expr.sub(expr.load(0, "f32", expr.index(0, 2 ** 30)), expr.acc("f32")))
  const terms = holes.compute(f, term, position, at)
  const accumulators = startAt(f, 0, 2), to = f.local("i32")
  f.forRange(position, 0, count, 8, () => {
    f.address(at, position, 4)
    f.set(to)
    const values = terms.vectors(term, 2, [most, most])
    if (keep) values.forEach((e, i) => { f.get(to); f.get(e); f.store("v128.store", 16 * i, 2) })
    join(f, sum, accumulators, values)
  })
  return total(f, sum, accumulators, partial)
}

/** eˣ for x ≤ 0, lane by lane; `x` and the result are vectors in locals. */
export function exponential(f: FunctionBuilder, holes: Holes, x: Local): Local {
  const value = expOfNegative(expr.acc("f32")), none = f.local("i32"), result = f.local("v128")
  const stream = holes.compute(f, value, none, none)
  stream.accumulate(x)
  stream.value(value, 4)
  f.set(result)
  return result
}
