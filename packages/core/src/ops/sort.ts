import { dtypes, type DType } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { axisOf, reducedShape, sizeOf } from "../shape.ts"
import { apply, type Op, type Tensor } from "../tensor.ts"
import { add, castTo, isNaN, mul, sub, where } from "./elementwise.ts"
import type { Chosen, KeepOptions } from "./extreme.ts"
import { gather } from "./indexing.ts"
import { eachLine, numbersOf } from "./lines.ts"
import { narrow, reshape } from "./movement.ts"
import { any } from "./reduce.ts"
import { wideFloat } from "./wide.ts"

const word = new Uint32Array(1), float = new Float32Array(word.buffer)
/** A whole number of 32 bits that grows with the value; the same for both zeros, largest for NaN. */
function rank(value: number, dtype: DType): number {
  const { kind } = dtypes[dtype]
  if (kind === "int") return value + 2 ** 31
  if (kind !== "float") return value
  if (Number.isNaN(value)) return 2 ** 32 - 1
  float[0] = value + 0
  const bits = word[0]!
  return bits >= 2 ** 31 ? 2 ** 32 - 1 - bits : bits + 2 ** 31
}
/** Longest line whose positions fit beside a rank in the 53 bits of a number; such pairs sort natively (2²⁰ floats: 0.4 s instead of 2.4 s). */
const longest = 2 ** 21

/** Below this share of a line its first elements are selected, and only they are sorted. */
const few = 1 / 4

/** The positions of the first numbers in order, as many as there is room for; equal ones as they stand. */
function orderOf(values: Float64Array, dtype: DType, descending: boolean, positions: Int32Array): void {
  const n = values.length, count = positions.length
  if (n <= longest && dtype !== "f64") {
    for (let i = 0; i < n; i++) {
      const r = rank(values[i]!, dtype)
      values[i] = (descending ? 2 ** 32 - 1 - r : r) * longest + i
    }
    const selects = count < few * n
    if (selects) selectSmallest(values, count)
    values.subarray(0, selects ? count : n).sort()
    for (let i = 0; i < count; i++) positions[i] = values[i]! % longest
    return
  }
  const compare = (a: number, b: number): number => (a < b ? -1 : a > b ? 1 : a === b ? 0 : Number(Number.isNaN(a)) - Number(Number.isNaN(b)))
  const all = Int32Array.from({ length: n }, (_, i) => i)
  all.sort(descending ? (i, j) => compare(values[j]!, values[i]!) : (i, j) => compare(values[i]!, values[j]!))
  positions.set(all.subarray(0, count))
}

/** Moves the smallest numbers to the front: those seen so far are a heap, the largest first, which most of the others do not get into. */
function selectSmallest(values: Float64Array, count: number): void {
  const sink = (at: number): void => {
    const value = values[at]!
    for (let child = 2 * at + 1; child < count; child = 2 * at + 1) {
      if (child + 1 < count && values[child + 1]! > values[child]!) child++
      if (values[child]! <= value) break
      values[at] = values[child]!
      at = child
    }
    values[at] = value
  }
  for (let at = (count >> 1) - 1; at >= 0; at--) sink(at)
  if (count === 0) return
  for (let i = count; i < values.length; i++) {
    const value = values[i]!
    if (value >= values[0]!) continue
    values[0] = value
    sink(0)
  }
}

const argsortOp: Op<{ axis: number; descending: boolean; count: number }> = {
  name: "argsort",
  meaning: {
    routine: ([x], { shape }, { axis, descending, count }) => {
      const all = numbersOf(x!), n = x!.shape[axis]!
      const out = new Int32Array(sizeOf(shape)), line = new Float64Array(n), positions = new Int32Array(count)
      let lines = 0
      eachLine(x!.shape, axis, (start, step) => {
        for (let k = 0; k < n; k++) line[k] = all[start + k * step]!
        orderOf(line, x!.dtype, descending, positions)
        const to = Math.floor(lines / step) * count * step + (lines % step)
        lines++
        for (let k = 0; k < count; k++) out[to + k * step] = positions[k]!
      })
      return out
    },
  },
  result: ([x], { axis, count }) => ({ shape: x!.shape.with(axis, count), dtype: "i32" }),
  vjp: () => [null],
}
const firstInOrder = (x: Tensor, axis: number, descending: boolean, count: number): Tensor => apply(argsortOp, [x], { axis, descending, count })

export interface SortOptions {
  /** The last axis unless given. */
  readonly axis?: number
  /** Largest first. */
  readonly descending?: boolean
}
/** Positions of the elements in sorted order along an axis, i32. Stable; NaN counts as the largest. */
export function argsort(x: Tensor, { axis = -1, descending = false }: SortOptions = {}): Tensor {
  const a = axisOf("argsort", axis, x.rank)
  return firstInOrder(x, a, descending, x.shape[a]!)
}
/** The elements in order along an axis, and where they stood. Stable; NaN counts as the largest. */
export function sort(x: Tensor, options: SortOptions = {}): Chosen {
  const axis = axisOf("sort", options.axis ?? -1, x.rank)
  const indices = argsort(x, { ...options, axis })
  return { values: gather(x, axis, indices), indices }
}

export interface TopkOptions {
  /** The last axis unless given. */
  readonly axis?: number
  /** The largest (true, the default) or the smallest elements. */
  readonly largest?: boolean
}
/** The k largest elements along an axis, best first, and where they stand; the first of equal ones. */
export function topk(x: Tensor, k: number, { axis = -1, largest = true }: TopkOptions = {}): Chosen {
  const a = axisOf("topk", axis, x.rank), n = x.shape[a]!
  if (!Number.isInteger(k) || k < 0 || k > n) fail("value", "topk", `cannot take ${k} of the ${n} elements of axis ${axis} in ${showShape(x.shape)}`)
  const indices = firstInOrder(x, a, largest, k)
  return { values: gather(x, a, indices), indices }
}

export interface QuantileOptions extends KeepOptions {
  /** The axis; all elements unless given. */
  readonly axis?: number
}
/** The element at a place of the order, 0 … n-1; a fraction is shared between neighbours. NaN if an element is NaN. */
function atPlace(op: string, x: Tensor, { axis, keepDims = false }: QuantileOptions, place: (n: number) => number): Tensor {
  const a = axis === undefined ? 0 : axisOf(op, axis, x.rank)
  const v = wideFloat(op, axis === undefined ? reshape(x, [x.size]) : x), n = v.shape[a]!
  if (n === 0) fail("value", op, `nothing to choose from in ${showShape(x.shape)}`)
  const at = place(n), below = Math.floor(at), share = at - below
  const order = argsort(v, { axis: a })
  const element = (k: number): Tensor => gather(v, a, narrow(order, a, k, 1))
  const low = element(below)
  const value = share === 0 ? low : add(low, mul(share, sub(element(below + 1), low)))
  const y = where(any(isNaN(v), { axis: a, keepDims: true }), NaN, value)
  return castTo(reshape(y, axis !== undefined ? reducedShape(x.shape, [a], keepDims) : keepDims ? x.shape.map(() => 1) : []), x.dtype)
}
/** The value below which the share q of the elements lies, between two neighbours in proportion. NaN if an element is NaN. */
export function quantile(x: Tensor, q: number, options: QuantileOptions = {}): Tensor {
  if (!(q >= 0 && q <= 1)) fail("value", "quantile", `q must lie in 0 … 1, got ${q}`)
  return atPlace("quantile", x, options, (n) => q * (n - 1))
}
/** The middle element; of an even number the lower of the two, as in torch. NaN if an element is NaN. */
export const median = (x: Tensor, options: QuantileOptions = {}): Tensor => atPlace("median", x, options, (n) => Math.floor((n - 1) / 2))
