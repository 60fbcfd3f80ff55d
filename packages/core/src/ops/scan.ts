import { dtypes, encode, type DType } from "../dtype.ts"
import { axisOf } from "../shape.ts"
import { apply, type Op, type Tensor } from "../tensor.ts"
import { castTo, div, eq, logicalAnd, mul, where } from "./elementwise.ts"
import type { Chosen } from "./extreme.ts"
import { gather } from "./indexing.ts"
import { eachLine, numbersOf } from "./lines.ts"
import { flip } from "./movement.ts"
import { widen } from "./wide.ts"

// Running reductions along one axis. Floats are carried in f64 and rounded once per element; integers wrap.

type Join = (a: number, b: number) => number
const joins: Record<"sum" | "product", { readonly first: number; readonly float: Join; readonly integer: Join }> = {
  sum: { first: 0, float: (a, b) => a + b, integer: (a, b) => (a + b) | 0 },
  product: { first: 1, float: (a, b) => a * b, integer: Math.imul },
}
/** Scanned dtypes are floats, i32 or u32 (which wraps when it is stored). */
const running = (name: string, kind: keyof typeof joins, vjp: Op<number>["vjp"]): Op<number> => ({
  name,
  meaning: {
    routine: ([x], { shape, dtype }, axis) => {
      const { first, float, integer } = joins[kind]
      const values = numbersOf(x!), n = shape[axis]!
      const whole = dtype === "i32" || dtype === "u32"
      const join = whole ? integer : float
      const out = new dtypes[dtype].array(new ArrayBuffer(values.length * dtypes[dtype].bytes))
      eachLine(shape, axis, (start, step) => {
        let total = first
        for (let k = 0, at = start; k < n; k++, at += step) {
          total = join(total, values[at]!)
          out[at] = whole ? total : encode(dtype, total)
        }
      })
      return out
    },
  },
  result: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
  vjp,
})

const cumsumOp = running("cumsum", "sum", (dy, _out, _src, axis) => [fromEnd(dy, axis)])
/** Sums from each element to the end. */
const fromEnd = (x: Tensor, axis: number): Tensor => flip(apply(cumsumOp, [flip(x, axis)], axis), axis)
const cumprodOp = running("cumprod", "product", (dy, out, [x], axis) => {
  // Before a line's first zero, products divided by x; at it, products with a 1 in its place; after it, nothing moves.
  const zero = eq(x!, 0)
  const zeros = apply(cumsumOp, [castTo(zero, "i32")], axis)
  const first = logicalAnd(zero, eq(zeros, 1))
  const around = apply(cumprodOp, [where(first, 1, x!)], axis)
  const before = div(fromEnd(mul(dy, out), axis), where(zero, 1, x!))
  return [where(eq(zeros, 0), before, where(first, fromEnd(mul(dy, around), axis), 0))]
})
/** Sum of the elements up to and including each, along an axis. Small integers and bool add up in i32. */
export const cumsum = (x: Tensor, axis: number): Tensor => apply(cumsumOp, [widen(x)], axisOf("cumsum", axis, x.rank))
/** Product of the elements up to and including each, along an axis. Small integers and bool are multiplied in i32. */
export const cumprod = (x: Tensor, axis: number): Tensor => apply(cumprodOp, [widen(x)], axisOf("cumprod", axis, x.rank))

/** Where the best element so far stands; NaN is better than all. */
const bestSoFar = (name: string, beats: (a: number, b: number) => boolean): Op<number> => ({
  name,
  meaning: {
    routine: ([x], { shape }, axis) => {
      const values = numbersOf(x!), n = shape[axis]!
      const out = new Int32Array(values.length)
      eachLine(shape, axis, (start, step) => {
        let best = 0, most = values[start]!
        for (let k = 0, at = start; k < n; k++, at += step) {
          const v = values[at]!
          if (Number.isNaN(v) || beats(v, most)) {
            best = k
            most = v
          }
          out[at] = best
        }
      })
      return out
    },
  },
  result: ([x]) => ({ shape: x!.shape, dtype: "i32" as DType }),
  vjp: () => [null],
})
const chooser = (name: string, beats: (a: number, b: number) => boolean): ((x: Tensor, axis: number) => Chosen) => {
  const op = bestSoFar(name, beats)
  return (x, axis) => {
    const a = axisOf(name, axis, x.rank)
    const indices = apply(op, [x], a)
    return { values: gather(x, a, indices), indices }
  }
}
/** Largest element up to and including each, and where it stands; the last of equal ones; NaN stays. */
export const cummax = chooser("cummax", (v, most) => v >= most)
/** Smallest element up to and including each, and where it stands; the last of equal ones; NaN stays. */
export const cummin = chooser("cummin", (v, most) => v <= most)
