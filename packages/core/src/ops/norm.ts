import { isFloat } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import type { Expr } from "../expr.ts"
import { stopGradient } from "../grad.ts"
import { sameShape, sizeOf, type Shape } from "../shape.ts"
import { apply, type Op, type Template, type Tensor } from "../tensor.ts"
import { along } from "./along.ts"
import { moveAxis } from "./arrange.ts"
import { add, castTo, div, mul, square, sub } from "./elementwise.ts"
import { rsqrt } from "./math.ts"
import { reshape } from "./movement.ts"
import { mean, sum } from "./reduce.ts"

/** `weight`, `bias`: which source they are, if they are there. */
interface Rows { readonly eps: number; readonly weight?: number; readonly bias?: number }

const last = { axis: -1, keepDims: true }
const template: Template<Rows> = {
  dims: ({ shape: [rows, columns] }, { eps }) => ({ rows: rows!, columns: columns!, eps }),
  loads: ({ shape }, { weight, bias }) => {
    const vector = (source: number) => ({ source, shape: shape.slice(1), coords: (i: readonly Expr[]) => [...i] })
    return {
      x: { source: 0, shape, coords: (i) => [...i] },
      ...(weight === undefined ? {} : { weight: vector(weight) }),
      ...(bias === undefined ? {} : { bias: vector(bias) }),
    }
  },
}
/** The rows' normalized values times weight plus bias. */
const affine = (x: Tensor, src: readonly Tensor[], { weight, bias }: Rows): Tensor => {
  const scaled = weight === undefined ? x : mul(x, src[weight]!)
  return bias === undefined ? scaled : add(scaled, src[bias]!)
}
/**
 * Gradients of [x, weight?, bias?]; `pull` takes the normalized values' gradient back to x. Both are made anew by every
 * reader: multiplying again costs less than storing.
 */
function gradients(dy: Tensor, normal: () => Tensor, src: readonly Tensor[], { weight, bias }: Rows, pull: (slope: () => Tensor) => Tensor): Tensor[] {
  return src.map((_, i) => {
    if (i === weight) return sum(mul(dy, normal()), { axis: 0 })
    return i === bias ? sum(dy, { axis: 0 }) : pull(() => (weight === undefined ? dy : mul(dy, src[weight]!)))
  })
}

/** Of the rows of a matrix. */
const layerNormOp: Op<Rows> = {
  name: "layerNorm",
  meaning: { expand: (src, attrs) => affine(standardized(src[0]!, attrs.eps).normal(), src, attrs) },
  result: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
  vjp: (dy, _out, src, attrs) => {
    const { normal, rate } = standardized(src[0]!, attrs.eps)
    return gradients(dy, normal, src, attrs, (g) => mul(rate, sub(sub(g(), mean(g(), last)), mul(normal(), mean(mul(g(), normal()), last)))))
  },
  batched: along(0, 0),
  template,
}
function standardized(x: Tensor, eps: number): { normal: () => Tensor; rate: Tensor } {
  const center = mean(x, last)
  const rate = rsqrt(add(mean(square(sub(x, center)), last), eps))
  return { normal: () => mul(sub(x, center), rate), rate }
}

const rmsNormOp: Op<Rows> = {
  name: "rmsNorm",
  meaning: { expand: (src, attrs) => affine(mul(src[0]!, rate(src[0]!, attrs.eps)), src, attrs) },
  result: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
  vjp: (dy, _out, src, attrs) => {
    const r = rate(src[0]!, attrs.eps), normal = (): Tensor => mul(src[0]!, r)
    return gradients(dy, normal, src, attrs, (g) => mul(r, sub(g(), mul(normal(), mean(mul(g(), normal()), last)))))
  },
  batched: along(0, 0),
  template,
}
const rate = (x: Tensor, eps: number): Tensor => rsqrt(add(mean(square(x), last), eps))

/** The ops that normalize the rows of a matrix: sources [x, its vectors …]. */
export const rowNorms = [layerNormOp, rmsNormOp] as const
/** The normalization whose rows a matrix is, if it is not computed yet. */
export function rowNormOf(x: Tensor): Tensor | undefined {
  let t = x
  while (t.op.flat === true && t.storage === undefined && t.sources.length === 1) t = t.sources[0]!
  return t.storage === undefined && !t.disposed && rowNorms.some((op) => op === (t.op as unknown)) && sameShape(t.shape, x.shape) ? t : undefined
}

export interface NormOptions {
  /** Added to the variance, 1e-5 unless given (1e-6 for rmsNorm). */
  readonly eps?: number
}

function overRows(op: Op<Rows>, x: Tensor, shape: Shape, weight: Tensor | undefined, bias: Tensor | undefined, eps: number): Tensor {
  if (!isFloat(x.dtype)) fail("dtype", op.name, `needs floats, got ${x.dtype}`, "cast to f32 first")
  if (!(eps >= 0)) fail("value", op.name, `eps must be ≥ 0, got ${eps}`)
  for (const [name, t] of [["weight", weight], ["bias", bias]] as const)
    if (t !== undefined && !sameShape(t.shape, shape)) fail("shape", op.name, `the ${name} must be ${showShape(shape)}, got ${showShape(t.shape)}`)
  const columns = sizeOf(shape)
  if (x.size === 0) return x
  const wide = x.dtype === "f64" ? "f64" : "f32"
  const extra = [weight, bias].filter((t) => t !== undefined).map((t) => castTo(reshape(t, [columns]), wide))
  const attrs: Rows = { eps, ...(weight && { weight: 1 }), ...(bias && { bias: extra.length }) }
  const y = apply(op, [castTo(reshape(x, [x.size / columns, columns]), wide), ...extra], attrs)
  return castTo(reshape(y, x.shape), x.dtype)
}

/** The axes that a weight covers: as many of the last as it has. */
const covered = (op: string, x: Tensor, rank: number): Shape =>
  rank >= 1 && rank <= x.rank ? x.shape.slice(x.rank - rank) : fail("axis", op, `cannot normalize ${rank} axes of ${showShape(x.shape)}`)

/**
 * (x − mean)/√(variance + eps)·weight + bias over the last axes: those of the weight or bias, or `axes` of them (1 unless
 * given). f16 and bf16 are computed in f32.
 */
export function layerNorm(x: Tensor, weight?: Tensor, bias?: Tensor, { eps = 1e-5, axes }: NormOptions & { readonly axes?: number } = {}): Tensor {
  return overRows(layerNormOp, x, covered("layerNorm", x, axes ?? weight?.rank ?? bias?.rank ?? 1), weight, bias, eps)
}
/** x/√(mean of squares + eps)·weight over the last axes, those of the weight (Zhang & Sennrich, 2019, arXiv:1910.07467). */
export function rmsNorm(x: Tensor, weight?: Tensor, { eps = 1e-6 }: NormOptions = {}): Tensor {
  return overRows(rmsNormOp, x, covered("rmsNorm", x, weight?.rank ?? 1), weight, undefined, eps)
}

/** One number per channel, shaped to multiply x [n, channels, ...]. */
function perChannel(op: string, name: string, t: Tensor, x: Tensor): Tensor {
  const channels = x.shape[1]!
  if (!sameShape(t.shape, [channels])) fail("shape", op, `the ${name} must be [${channels}], one number per channel, got ${showShape(t.shape)}`)
  return reshape(t, [channels, ...x.shape.slice(2).map(() => 1)])
}
function scaleChannels(op: string, y: Tensor, weight: Tensor | undefined, bias: Tensor | undefined): Tensor {
  const scaled = weight === undefined ? y : mul(y, perChannel(op, "weight", weight, y))
  return bias === undefined ? scaled : add(scaled, perChannel(op, "bias", bias, y))
}
function checkChannels(op: string, x: Tensor): void {
  if (x.rank < 2) fail("shape", op, `needs [n, channels, ...], got ${showShape(x.shape)}`)
}

/** Each sample's channels, in `groups` of neighbours, brought to mean 0 and variance 1; weight and bias per channel (arXiv:1803.08494). */
export function groupNorm(x: Tensor, groups: number, weight?: Tensor, bias?: Tensor, { eps = 1e-5 }: NormOptions = {}): Tensor {
  checkChannels("groupNorm", x)
  const [n, channels] = x.shape as [number, number]
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0) fail("value", "groupNorm", `${groups} groups do not divide ${channels} channels`)
  const y = x.size === 0 ? x : reshape(layerNorm(reshape(x, [n * groups, x.size / (n * groups)]), undefined, undefined, { eps }), x.shape)
  return scaleChannels("groupNorm", y, weight, bias)
}
/** {@link groupNorm} with every channel a group of its own (arXiv:1607.08022). */
export function instanceNorm(x: Tensor, weight?: Tensor, bias?: Tensor, options: NormOptions = {}): Tensor {
  checkChannels("instanceNorm", x)
  return groupNorm(x, x.shape[1]!, weight, bias, options)
}

export interface BatchNormOptions extends NormOptions {
  /** Normalize by the batch's own statistics, and move the running ones towards them. */
  readonly training?: boolean
  /** Share of the batch in the new running statistics, 0.1 unless given. */
  readonly momentum?: number
}
/** What {@link batchNorm} gives: the normalized values, and the running statistics for the next call. */
export interface BatchNormed { readonly output: Tensor; readonly mean: Tensor; readonly variance: Tensor }

/**
 * Channels of x [n, channels, ...] brought to mean 0 and variance 1, by running statistics or, in training, by the
 * batch's own; the new running variance is the unbiased one. No gradient flows through running statistics (Ioffe &
 * Szegedy, 2015, arXiv:1502.03167).
 */
export function batchNorm(x: Tensor, runningMean: Tensor, runningVariance: Tensor, weight?: Tensor, bias?: Tensor, { eps = 1e-5, training = false, momentum = 0.1 }: BatchNormOptions = {}): BatchNormed {
  checkChannels("batchNorm", x)
  const old = { mean: stopGradient(runningMean), variance: stopGradient(runningVariance) }
  const center = perChannel("batchNorm", "mean", old.mean, x), spread = perChannel("batchNorm", "variance", old.variance, x)
  if (!training) {
    const normal = mul(sub(x, center), rsqrt(add(spread, eps)))
    return { output: scaleChannels("batchNorm", normal, weight, bias), mean: runningMean, variance: runningVariance }
  }
  const channels = x.shape[1]!, count = x.size / channels
  if (!(count > 1)) fail("value", "batchNorm", `training needs more than one value per channel, got ${showShape(x.shape)}`)
  const moved = moveAxis(x, 1, 0), rows = reshape(moved, [channels, count])
  const normal = moveAxis(reshape(layerNorm(rows, undefined, undefined, { eps }), moved.shape), 0, 1)
  const seen = stopGradient(rows), middle = mean(seen, last)
  const variance = div(sum(square(sub(seen, middle)), { axis: -1 }), count - 1)
  const blend = (before: Tensor, now: Tensor): Tensor => add(mul(before, 1 - momentum), mul(now, momentum))
  return { output: scaleChannels("batchNorm", normal, weight, bias), mean: blend(old.mean, reshape(middle, [channels])), variance: blend(old.variance, variance) }
}
