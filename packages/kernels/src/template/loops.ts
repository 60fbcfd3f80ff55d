// Small pieces of index arithmetic that the templates share.
import type { FunctionBuilder, Index, Local } from "../emit/assembler.ts"

export const ceilDiv = (a: number, b: number): number => Math.ceil(a / b)
export const roundUp = (a: number, b: number): number => ceilDiv(a, b) * b

export const v128s = (f: FunctionBuilder, count: number): Local[] => Array.from({ length: count }, () => f.local("v128"))
export const i32s = (f: FunctionBuilder, count: number): Local[] => Array.from({ length: count }, () => f.local("i32"))

/** Splits a unit number into coordinates, the last one fastest. */
export function split(f: FunctionBuilder, unit: Local, parts: readonly (readonly [to: Local, size: number])[]): void {
  const rest = f.local("i32")
  f.assign(rest, unit)
  for (const [to, size] of parts.toReversed()) {
    if (size === 1) {
      f.assign(to, 0)
      continue
    }
    f.get(rest); f.i32(size); f.op("i32.rem_u"); f.set(to)
    f.get(rest); f.i32(size); f.op("i32.div_u"); f.set(rest)
  }
}

/** to = from + the largest multiple of step that fits before end; step a power of two. */
export function endOfSteps(f: FunctionBuilder, to: Local, from: Index, end: Index, step: number): void {
  f.push(from)
  f.push(end)
  f.push(from)
  f.op("i32.sub")
  f.i32(-step)
  f.op("i32.and", "i32.add")
  f.set(to)
}

/** to = min(a, b), signed. */
export function minimum(f: FunctionBuilder, to: Local, a: Index, b: Index): void {
  f.push(a)
  f.push(b)
  f.push(a)
  f.push(b)
  f.op("i32.lt_s", "select")
  f.set(to)
}

/**
 * For positions `from` … `to` − 1 along an axis, `step` at a time; `to` is the axis's length or from + a multiple of step.
 * Where the steps do not fit the length the last one goes back over some of what is done, rather than leaving a rest.
 */
export function forSteps(f: FunctionBuilder, position: Local, from: Index, to: Index, length: number, step: number, body: () => void): void {
  if (length % step === 0) return f.forRange(position, from, to, step, body)
  const next = f.local("i32")
  f.forRange(next, from, to, step, () => {
    minimum(f, position, next, length - step)
    body()
  })
}
