import { isFloat, scalarOf } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { add, constant, div, int, lt, min, mul, select, type Expr } from "../expr.ts"
import { sizeOf, type Shape } from "../shape.ts"
import { apply, type Op, type Tensor } from "../tensor.ts"
import { arange, full, ones } from "./create.ts"
import { add as plus, castTo, div as divide, eq, ge, ne, sub as subtract, where } from "./elementwise.ts"
import { spatial, type Spatial } from "./convolution.ts"
import { expand, reshape, transpose } from "./movement.ts"
import { amax, sum } from "./reduce.ts"
import { overlapAdd, windows, type Sliding } from "./window.ts"

export interface PoolOptions {
  /** Distance of windows; the kernel's size unless given. */
  readonly stride?: Spatial
  /** Cells around the input, on both sides, at most half a kernel; 0 unless given. */
  readonly padding?: Spatial
  /** Also takes the windows at the end that the input only partly fills, unless they start in the padding. */
  readonly ceilMode?: boolean
}

/** The input as [n·channels, height, width], and its windows. */
function slide(op: string, x: Tensor, kernel: Spatial, { stride = kernel, padding = 0, ceilMode = false }: PoolOptions, spacing: Spatial, fill: number): Sliding {
  if (x.rank < 3) fail("shape", op, `needs [..., channels, height, width], got ${showShape(x.shape)}`)
  if (!isFloat(x.dtype)) fail("dtype", op, `needs floats, got ${x.dtype}`, "cast to f32 first")
  const input = x.shape.slice(-2), size = spatial(op, "the kernel", kernel, 2, 1)
  const steps = spatial(op, "stride", stride, 2, 1), edge = spatial(op, "padding", padding, 2, 0), dilation = spatial(op, "dilation", spacing, 2, 1)
  edge.forEach((p, i) => p * 2 > size[i]! && fail("value", op, `padding [${edge.join(", ")}] must be at most half of the kernel [${size.join(", ")}]`))
  const output = input.map((n, i) => {
    const room = n + 2 * edge[i]! - dilation[i]! * (size[i]! - 1) - 1
    const count = (ceilMode ? Math.ceil(room / steps[i]!) : Math.floor(room / steps[i]!)) + 1
    return ceilMode && (count - 1) * steps[i]! >= n + edge[i]! ? count - 1 : count
  })
  if (output.some((n) => n < 1)) fail("shape", op, `the kernel [${size.join(", ")}] is larger than the padded input ${showShape(input.map((n, i) => n + 2 * edge[i]!))}`)
  return { kernel: size, stride: steps, padding: edge, dilation, input, output, fill }
}
const planes = (x: Tensor): Tensor => reshape(x, [sizeOf(x.shape.slice(0, -2)), ...x.shape.slice(-2)])
/** Row-major position in the input of each cell of each window, [1, ...kernel, ...output]; -1 outside. */
const positions = (w: Sliding): Tensor => windows(reshape(arange(sizeOf(w.input)), [1, ...w.input]), { ...w, fill: -1 })
/** A value per window, [b, ...output], for each of its cells. */
const perCell = (y: Tensor, { kernel, output }: Sliding): Tensor => expand(reshape(y, [y.shape[0]!, 1, 1, ...output]), [y.shape[0]!, ...kernel, ...output])

/** Position of each window's largest cell, the first of equals; of the last NaN if there is one. */
function chosen(x: Tensor, y: Tensor, w: Sliding): Tensor {
  const cells = windows(x, w), at = expand(positions(w), cells.shape), size = sizeOf(w.input)
  const hit = where(ne(cells, cells), plus(at, size), where(eq(cells, perCell(y, w)), subtract(size - 1, at), -1))
  const best = amax(where(ge(at, 0), hit, -1), { axis: [1, 2] })
  return where(ge(best, size), subtract(best, size), subtract(size - 1, best))
}

/** x [b, height, width] → [b, ...output]. */
const maxPoolOp: Op<Sliding> = {
  name: "maxPool",
  meaning: { expand: ([x], w) => amax(windows(x!, w), { axis: [1, 2] }) },
  result: ([x], { output }) => ({ shape: [x!.shape[0]!, ...output], dtype: x!.dtype }),
  vjp: (dy, y, [x], w) => {
    const here = eq(perCell(chosen(x!, y, w), w), positions(w))
    return [overlapAdd(where(here, perCell(dy, w), 0), w)]
  },
}

/** What {@link maxPool2d} gives; indices are row-major positions in the plane of height and width. */
export interface MaxPooled { readonly values: Tensor; readonly indices: Tensor }
/**
 * The largest cell of each window over the last two axes, and where it was: the first of equals, any NaN before numbers.
 * The gradient goes there.
 */
export function maxPool2d(x: Tensor, kernel: Spatial, options: PoolOptions & { readonly dilation?: Spatial } = {}): MaxPooled {
  const w = slide("maxPool2d", x, kernel, options, options.dilation ?? 1, -Infinity)
  const flat = planes(x), y = apply(maxPoolOp, [flat], w)
  const shape = [...x.shape.slice(0, -2), ...w.output]
  return { values: reshape(y, shape), indices: reshape(chosen(flat, y, w), shape) }
}

export interface AveragePoolOptions extends PoolOptions {
  /** Whether padding counts as cells of value 0; true unless given. */
  readonly countPadding?: boolean
}
/** The mean of each window over the last two axes; what a window of ceil mode has beyond the padding does not count. */
export function avgPool2d(x: Tensor, kernel: Spatial, { countPadding = true, ...options }: AveragePoolOptions = {}): Tensor {
  const w = slide("avgPool2d", x, kernel, options, 1, 0)
  const counted: Sliding = countPadding ? { ...w, input: w.input.map((n, i) => n + 2 * w.padding[i]!), padding: [0, 0] } : w
  const total = (t: Tensor, over: Sliding): Tensor => sum(windows(t, over), { axis: [1, 2] })
  const wide = castTo(planes(x), scalarOf(x.dtype) === "f64" ? "f64" : "f32")
  const mean = divide(total(wide, w), total(ones([1, ...counted.input], wide.dtype), counted))
  return castTo(reshape(mean, [...x.shape.slice(0, -2), ...w.output]), x.dtype)
}

/** [b, n] → [b, out, cells]: cell k of part o is element ⌊o·n/out⌋ + k, up to ⌈(o+1)·n/out⌉, and 0 beyond. */
const partsOp: Op<number> = {
  name: "parts",
  meaning: {
    at: (read, [b, o, k], node, out) => {
      const n = node.sources[0]!.shape[1]!
      const at = add(div(mul(o!, int(n)), int(out)), k!), end = endOf(o!, n, out)
      return select(lt(at, end), read(0, [b!, min(at, int(n - 1))]), constant(scalarOf(node.dtype), 0))
    },
  },
  result: ([x], out) => {
    const [b, n] = x!.shape as [number, number]
    const longest = Math.max(...Array.from({ length: out }, (_, o) => Math.ceil(((o + 1) * n) / out) - Math.floor((o * n) / out)))
    return { shape: [b, out, longest], dtype: x!.dtype }
  },
}
const endOf = (o: Expr, n: number, out: number): Expr => div(add(mul(o, int(n)), int(n + out - 1)), int(out))

/**
 * [b, n] → [b, out]: sums of `out` parts of the axis, which overlap where out does not divide n. Element i lies in part o
 * exactly when part i of n parts of the other axis has element o, so the transpose is the same op.
 */
const adaptiveSumOp: Op<number> = {
  name: "adaptiveSum",
  meaning: { expand: ([x], out) => sum(apply(partsOp, [x!], out), { axis: 2 }) },
  result: ([x], out) => ({ shape: [x!.shape[0]!, out], dtype: x!.dtype }),
  vjp: (dy, _out, [x]) => [apply(adaptiveSumOp, [dy], x!.shape[1]!)],
}
function adaptiveMean(x: Tensor, out: number): Tensor {
  const n = x.shape.at(-1)!, flat = reshape(x, [x.size / n, n])
  const mean = divide(apply(adaptiveSumOp, [flat], out), apply(adaptiveSumOp, [full([1, n], 1, x.dtype)], out))
  return reshape(mean, [...x.shape.slice(0, -1), out])
}
/** Means over the last two axes, each cut into the given number of parts; null keeps an axis. */
export function adaptiveAvgPool2d(x: Tensor, size: number | readonly [height: number | null, width: number | null]): Tensor {
  const op = "adaptiveAvgPool2d"
  if (x.rank < 3) fail("shape", op, `needs [..., channels, height, width], got ${showShape(x.shape)}`)
  if (!isFloat(x.dtype)) fail("dtype", op, `needs floats, got ${x.dtype}`, "cast to f32 first")
  const plane: Shape = x.shape.slice(-2)
  const [height, width] = (typeof size === "number" ? [size, size] : size).map((s, i) => s ?? plane[i]!) as [number, number]
  if ([height, width].some((s) => !Number.isInteger(s) || s < 1) || plane.includes(0)) fail("value", op, `cannot cut ${showShape(plane)} into [${height}, ${width}] parts`)
  const wide = castTo(x, scalarOf(x.dtype) === "f64" ? "f64" : "f32")
  return castTo(transpose(adaptiveMean(transpose(adaptiveMean(wide, width)), height)), x.dtype)
}
