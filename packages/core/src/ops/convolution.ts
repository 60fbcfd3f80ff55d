import { dtypes, isFloat, promote } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { sizeOf, type Shape } from "../shape.ts"
import { apply, type Op, type Tensor } from "../tensor.ts"
import { along } from "./along.ts"
import { add, castTo } from "./elementwise.ts"
import { matmul } from "./matmul.ts"
import { permute, reshape, transpose } from "./movement.ts"
import { overlapAdd, windows, type Sliding } from "./window.ts"

/** One number for every spatial axis, or one each. */
export type Spatial = number | readonly number[]
export interface ConvolutionOptions {
  /** Distance of windows, 1 unless given. */
  readonly stride?: Spatial
  /** Zeros around the input, on both sides of an axis; 0 unless given. */
  readonly padding?: Spatial
  /** Distance of the cells of a window, 1 unless given. */
  readonly dilation?: Spatial
  /** Channels fall into groups that do not see each other, 1 unless given. */
  readonly groups?: number
}

/** Numbers per spatial axis, from an option. */
export function spatial(op: string, name: string, given: Spatial, rank: number, least: number): number[] {
  const list = typeof given === "number" ? new Array<number>(rank).fill(given) : [...given]
  if (list.length !== rank || list.some((v) => !Number.isInteger(v) || v < least))
    fail("value", op, `${name} must be a whole number ≥ ${least}, or ${rank} of them, got ${typeof given === "number" ? given : `[${given.join(", ")}]`}`)
  return list
}

/** Weights of groups, and windows over the spatial axes of x [n, groups·channels, ...]. */
interface Attributes { readonly groups: number; readonly sliding: Sliding }

/** The cells of each window of x [n, c, ...input], as columns per group: [n, groups, c/groups · kernel, output]. */
function columns(x: Tensor, { groups, sliding }: Attributes): Tensor {
  const [n, c] = x.shape as [number, number]
  const cells = windows(reshape(x, [n * c, ...sliding.input]), sliding)
  return reshape(cells, [n, groups, (c / groups) * sizeOf(sliding.kernel), sizeOf(sliding.output)])
}
/** The transpose: columns added up into [n, c, ...input]. */
function fold(columns: Tensor, n: number, c: number, { sliding }: Attributes): Tensor {
  return reshape(overlapAdd(reshape(columns, [n * c, ...sliding.kernel, ...sliding.output]), sliding), [n, c, ...sliding.input])
}
/** Weights [out, ...] as one matrix per group, [groups, out/groups, rest]. */
const matrices = (w: Tensor, groups: number): Tensor => reshape(w, [groups, w.shape[0]! / groups, w.size / w.shape[0]!])
/** [n, groups, rows, positions] with the sample beside the position, [groups, rows, n·positions], to sum over both at once. */
function together(t: Tensor): Tensor {
  const [n, groups, rows, positions] = t.shape as [number, number, number, number]
  return reshape(permute(t, [1, 2, 0, 3]), [groups, rows, n * positions])
}
const perGroup = (y: Tensor, groups: number): Tensor => reshape(y, [y.shape[0]!, groups, y.shape[1]! / groups, sizeOf(y.shape.slice(2))])

/**
 * x [n, c, ...input] and w [out, c/groups, ...kernel] → [n, out, ...output]: a matrix product with the cells of each
 * window, which are read in place.
 */
const convolutionOp: Op<Attributes> = {
  name: "convolution",
  meaning: {
    expand: ([x, w], a) => reshape(matmul(matrices(w!, a.groups), columns(x!, a)), [x!.shape[0]!, w!.shape[0]!, ...a.sliding.output]),
  },
  result: ([x, w], { sliding }) => ({ shape: [x!.shape[0]!, w!.shape[0]!, ...sliding.output], dtype: x!.dtype }),
  vjp: (dy, _out, [x, w], a) => {
    const slope = perGroup(dy, a.groups)
    const dx = fold(matmul(transpose(matrices(w!, a.groups)), slope), x!.shape[0]!, x!.shape[1]!, a)
    const dw = matmul(together(slope), transpose(together(columns(x!, a))))
    return [dx, reshape(dw, w!.shape)]
  },
  batched: along(0, 0),
}
/** The transpose in x: x [n, c, ...output] and w [c, out/groups, ...kernel] → [n, out, ...input]. */
const transposedOp: Op<Attributes & { readonly out: number }> = {
  name: "convolutionTranspose",
  meaning: {
    expand: ([x, w], a) => fold(matmul(transpose(matrices(w!, a.groups)), perGroup(x!, a.groups)), x!.shape[0]!, a.out, a),
  },
  result: ([x], { out, sliding }) => ({ shape: [x!.shape[0]!, out, ...sliding.input], dtype: x!.dtype }),
  vjp: (dy, _out, [x, w], a) => {
    const dw = matmul(together(perGroup(x!, a.groups)), transpose(together(columns(dy, a))))
    return [apply(convolutionOp, [dy, w!], a), reshape(dw, w!.shape)]
  },
  batched: along(0, 0),
}

interface Checked { readonly x: Tensor; readonly w: Tensor; readonly single: boolean; readonly stride: number[]; readonly padding: number[]; readonly dilation: number[]; readonly groups: number; readonly dtype: Tensor["dtype"] }

/** Checks what both directions share. A sample without its batch axis becomes a batch of one. */
function check(op: string, rank: number, x: Tensor, w: Tensor, options: ConvolutionOptions): Checked {
  const axes = ["n", "channels", "depth", "height", "width"].filter((_, i) => i < 2 || i >= 5 - rank)
  if (x.rank !== rank + 2 && x.rank !== rank + 1) fail("shape", op, `the input must be [${axes.join(", ")}], got ${showShape(x.shape)}`)
  if (w.rank !== rank + 2) fail("shape", op, `the weight must have ${rank + 2} axes, got ${showShape(w.shape)}`)
  const dtype = promote(x.dtype, w.dtype)
  if (!isFloat(dtype)) fail("dtype", op, `needs floats, got ${x.dtype} and ${w.dtype}`, "cast to f32 first")
  const { stride = 1, padding = 0, dilation = 1, groups = 1 } = options
  const single = x.rank === rank + 1
  const channels = x.shape[single ? 0 : 1]!
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0 || w.shape[0]! % groups !== 0)
    fail("value", op, `${groups} groups do not divide the channels of input ${showShape(x.shape)} and weight ${showShape(w.shape)}`)
  const wide = dtypes[dtype].scalar
  return {
    x: castTo(single ? reshape(x, [1, ...x.shape]) : x, wide), w: castTo(w, wide), single, groups, dtype,
    stride: spatial(op, "stride", stride, rank, 1), padding: spatial(op, "padding", padding, rank, 0), dilation: spatial(op, "dilation", dilation, rank, 1),
  }
}

function finish(op: string, y: Tensor, bias: Tensor | undefined, { single, dtype }: Checked): Tensor {
  const channels = y.shape[1]!
  if (bias !== undefined && (bias.rank !== 1 || bias.size !== channels)) fail("shape", op, `the bias must be [${channels}], got ${showShape(bias.shape)}`)
  const shifted = bias === undefined ? y : add(y, castTo(reshape(bias, [channels, ...y.shape.slice(2).map(() => 1)]), y.dtype))
  return castTo(single ? reshape(shifted, shifted.shape.slice(1)) : shifted, dtype)
}

function convolution(op: string, rank: number, x: Tensor, weight: Tensor, bias: Tensor | undefined, options: ConvolutionOptions): Tensor {
  const c = check(op, rank, x, weight, options)
  const kernel = c.w.shape.slice(2), input = c.x.shape.slice(2), channels = c.x.shape[1]!
  if (channels / c.groups !== c.w.shape[1]) fail("shape", op, `the weight ${showShape(weight.shape)} sees ${c.w.shape[1]!} channels of ${channels / c.groups} (${channels} in ${c.groups} groups)`)
  const output = input.map((n, i) => Math.floor((n + 2 * c.padding[i]! - c.dilation[i]! * (kernel[i]! - 1) - 1) / c.stride[i]!) + 1)
  if (output.some((n) => n < 1)) fail("shape", op, `the kernel ${showShape(kernel)} is larger than the padded input ${showShape(input.map((n, i) => n + 2 * c.padding[i]!))}`)
  const sliding: Sliding = { kernel, stride: c.stride, dilation: c.dilation, padding: c.padding, input, output, fill: 0 }
  return finish(op, apply(convolutionOp, [c.x, c.w], { groups: c.groups, sliding }), bias, c)
}

/** Cross-correlation of x [n, channels, width] with weights [out, channels/groups, width]; the batch axis may be missing. */
export const conv1d = (x: Tensor, weight: Tensor, bias?: Tensor, options: ConvolutionOptions = {}): Tensor => convolution("conv1d", 1, x, weight, bias, options)
/** Cross-correlation of x [n, channels, height, width] with weights [out, channels/groups, height, width]; the batch axis may be missing. */
export const conv2d = (x: Tensor, weight: Tensor, bias?: Tensor, options: ConvolutionOptions = {}): Tensor => convolution("conv2d", 2, x, weight, bias, options)
/** Cross-correlation of x [n, channels, depth, height, width] with weights of five axes; the batch axis may be missing. */
export const conv3d = (x: Tensor, weight: Tensor, bias?: Tensor, options: ConvolutionOptions = {}): Tensor => convolution("conv3d", 3, x, weight, bias, options)

export interface TransposedOptions extends ConvolutionOptions {
  /** Rows and columns added at the end of the result, to choose among the sizes that a stride leaves open. */
  readonly outputPadding?: Spatial
}
/** The transpose of {@link conv2d} in its input: x [n, channels, height, width] with weights [channels, out/groups, height, width]. */
export function convTranspose2d(x: Tensor, weight: Tensor, bias?: Tensor, options: TransposedOptions = {}): Tensor {
  const op = "convTranspose2d"
  const c = check(op, 2, x, weight, options)
  const extra = spatial(op, "outputPadding", options.outputPadding ?? 0, 2, 0)
  if (extra.some((e, i) => e >= Math.max(c.stride[i]!, c.dilation[i]!))) fail("value", op, `outputPadding [${extra.join(", ")}] must be smaller than the stride or the dilation`)
  const kernel = c.w.shape.slice(2), small: Shape = c.x.shape.slice(2)
  if (c.w.shape[0] !== c.x.shape[1]) fail("shape", op, `the weight ${showShape(weight.shape)} is for ${c.w.shape[0]!} channels, the input has ${c.x.shape[1]!}`)
  const large = small.map((n, i) => (n - 1) * c.stride[i]! - 2 * c.padding[i]! + c.dilation[i]! * (kernel[i]! - 1) + 1 + extra[i]!)
  if (large.some((n) => n < 1)) fail("shape", op, `the padding [${c.padding.join(", ")}] leaves nothing of the result ${showShape(large)}`)
  const sliding: Sliding = { kernel, stride: c.stride, dilation: c.dilation, padding: c.padding, input: large, output: small, fill: 0 }
  return finish(op, apply(transposedOp, [c.x, c.w], { groups: c.groups, sliding, out: c.w.shape[1]! * c.groups }), bias, c)
}
