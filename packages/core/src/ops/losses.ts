import * as e from "../expr.ts"
import { isFloat } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { stopGradient } from "../grad.ts"
import { axisOf, sameShape } from "../shape.ts"
import type { Tensor } from "../tensor.ts"
import { logSigmoid } from "./activation.ts"
import { binary, like, parametric, unary } from "./define.ts"
import { abs, add, castTo, clamp, div, eq, maximum, mul, square, sub, where } from "./elementwise.ts"
import { exp, log, sqrt } from "./math.ts"
import { mean, sum } from "./reduce.ts"
import { logSoftmax } from "./softmax.ts"

/** What becomes of the losses of the elements (or rows): kept, their mean, or their sum. */
export type Reduction = "none" | "mean" | "sum"
export interface LossOptions {
  /** `mean` unless given. */
  readonly reduction?: Reduction
}

export const reductions: Record<Reduction, (x: Tensor) => Tensor> = { none: (x) => x, mean: (x) => mean(x), sum: (x) => sum(x) }
export const checkReduction = (op: string, reduction: string, known: object = reductions): void =>
  void (reduction in known || fail("value", op, `no reduction '${reduction}'`, `one of ${Object.keys(known).join(", ")}`))

/** Losses do not broadcast: [n] against [n, 1] would silently compare everything with everything. */
function checkPair(op: string, x: Tensor, target: Tensor): void {
  if (!sameShape(x.shape, target.shape)) fail("shape", op, `the input ${showShape(x.shape)} and target ${showShape(target.shape)} must have one shape`, "expand or reshape one of them")
  if (!isFloat(x.dtype)) fail("dtype", op, `needs floats, got ${x.dtype}`, "cast to f32 first")
}
/** A loss of element pairs, reduced. */
function elementwise(op: string, x: Tensor, target: Tensor, { reduction = "mean" }: LossOptions, loss: (x: Tensor, target: Tensor) => Tensor): Tensor {
  checkPair(op, x, target)
  checkReduction(op, reduction)
  return reductions[reduction](loss(x, castTo(target, x.dtype)))
}

/** (x − target)². */
export const mseLoss = (x: Tensor, target: Tensor, options: LossOptions = {}): Tensor => elementwise("mseLoss", x, target, options, (a, b) => square(sub(a, b)))
/** |x − target|. */
export const l1Loss = (x: Tensor, target: Tensor, options: LossOptions = {}): Tensor => elementwise("l1Loss", x, target, options, (a, b) => abs(sub(a, b)))

/** d²/2 up to delta, then the straight line that continues it. */
const huber = parametric<number>("huber", "float", (d, delta) => {
  const a = e.abs(d), half = like(d, 0.5)
  return e.select(e.le(a, like(d, delta)), e.mul(half, e.mul(d, d)), e.mul(like(d, delta), e.sub(a, like(d, delta / 2))))
}, (d, _y, delta) => clamp(d, -delta, delta))
/** Half the square of x − target up to `delta` (1 unless given), delta·(|x − target| − delta/2) beyond. */
export function huberLoss(x: Tensor, target: Tensor, { delta = 1, ...options }: LossOptions & { readonly delta?: number } = {}): Tensor {
  if (!(delta > 0)) fail("value", "huberLoss", `delta must be positive, got ${delta}`)
  return elementwise("huberLoss", x, target, options, (a, b) => huber(sub(a, b), delta))
}
/** {@link huberLoss} divided by its bend `beta` (1 unless given): slope 1 beyond it; beta 0 is {@link l1Loss}. */
export function smoothL1Loss(x: Tensor, target: Tensor, { beta = 1, ...options }: LossOptions & { readonly beta?: number } = {}): Tensor {
  if (!(beta >= 0)) fail("value", "smoothL1Loss", `beta must be ≥ 0, got ${beta}`)
  return elementwise("smoothL1Loss", x, target, options, (a, b) => (beta === 0 ? abs(sub(a, b)) : div(huber(sub(a, b), beta), beta)))
}

export interface BinaryOptions extends LossOptions {
  /** Factor of each element's loss; broadcasts. */
  readonly weight?: Tensor
}
/** −(t·log p + (1 − t)·log(1 − p)), its logarithms not below −100. */
const bernoulli = binary("binaryCrossEntropy", "float", (p, t) => {
  const one = like(p, 1), bounded = (x: e.Expr): e.Expr => e.max(e.log(x), like(x, -100))
  return e.sub(e.mul(e.sub(t, one), bounded(e.sub(one, p))), e.mul(t, bounded(p)))
}, (dy, p, t) => [mul(dy, div(sub(p, t), maximum(mul(p, sub(1, p)), 1e-12))), null])
/** Cross entropy of probabilities x with targets in 0 … 1, at most 100 per element. No gradient flows to the target. */
export function binaryCrossEntropy(x: Tensor, target: Tensor, { weight, ...options }: BinaryOptions = {}): Tensor {
  return elementwise("binaryCrossEntropy", x, target, options, (p, t) => weighted(bernoulli(p, t), weight))
}
/** {@link binaryCrossEntropy} of sigmoid(x), without overflow; `positiveWeight` multiplies the loss of positives. */
export function bceWithLogits(x: Tensor, target: Tensor, { weight, positiveWeight, ...options }: BinaryOptions & { readonly positiveWeight?: Tensor } = {}): Tensor {
  return elementwise("bceWithLogits", x, target, options, (a, t) => {
    const factor = positiveWeight === undefined ? undefined : add(mul(sub(positiveWeight, 1), t), 1)
    return weighted(sub(mul(sub(1, t), a), weighted(logSigmoid(a), factor)), weight)
  })
}
const weighted = (loss: Tensor, weight: Tensor | undefined): Tensor => (weight === undefined ? loss : mul(loss, weight))

/** t·log t, 0 at 0, where its derivative counts as 0 too. */
const entropyTerm = unary("entropyTerm", "float", (t) => e.select(e.eq(t, like(t, 0)), like(t, 0), e.mul(t, e.log(t))), (t) => where(eq(t, 0), 0, add(log(t), 1)))
const divergences: Record<Reduction | "batchmean", (x: Tensor) => Tensor> = { ...reductions, batchmean: (x) => div(sum(x), x.shape[0] ?? 1) }
export interface DivergenceOptions {
  /** `batchmean`, the sum divided by the first axis' size, is the divergence itself; `mean` (the default, as in torch) divides by all elements. */
  readonly reduction?: Reduction | "batchmean"
  /** The target holds logarithms of probabilities. */
  readonly logTarget?: boolean
}
/** Kullback-Leibler divergence Σ target·(log target − x) of probabilities `target` from x, which holds logarithms. Targets of 0 count 0. */
export function klDivLoss(x: Tensor, target: Tensor, { reduction = "mean", logTarget = false }: DivergenceOptions = {}): Tensor {
  checkPair("klDivLoss", x, target)
  checkReduction("klDivLoss", reduction, divergences)
  return divergences[reduction](logTarget ? mul(exp(target), sub(target, x)) : sub(entropyTerm(target), mul(target, x)))
}

export interface DistillationOptions {
  /** Both logits are divided by it, the loss multiplied by its square; 1 unless given. */
  readonly temperature?: number
  /** Class axis, the last unless given. */
  readonly axis?: number
}
/**
 * Divergence of the teacher's softened distribution from the student's, the mean over rows. No gradient flows to the
 * teacher (Hinton et al., 2015, arXiv:1503.02531).
 */
export function distillationLoss(student: Tensor, teacher: Tensor, { temperature = 1, axis = -1 }: DistillationOptions = {}): Tensor {
  checkPair("distillationLoss", student, teacher)
  if (!(temperature > 0)) fail("value", "distillationLoss", `the temperature must be positive, got ${temperature}`)
  const soften = (x: Tensor): Tensor => logSoftmax(div(x, temperature), axis)
  const total = klDivLoss(soften(student), soften(stopGradient(teacher)), { reduction: "sum", logTarget: true })
  return mul(total, (temperature ** 2 * student.shape[axisOf("distillationLoss", axis, student.rank)]!) / student.size)
}

/** Cosine of the angle between a and b along an axis (the last unless given); lengths below `eps` count as eps. */
export function cosineSimilarity(a: Tensor, b: Tensor, { axis = -1, eps = 1e-8 }: { readonly axis?: number; readonly eps?: number } = {}): Tensor {
  if (!isFloat(a.dtype) || !isFloat(b.dtype)) fail("dtype", "cosineSimilarity", `needs floats, got ${a.dtype} and ${b.dtype}`, "cast to f32 first")
  const inner = sum(mul(a, b), { axis })
  const length = (x: Tensor): Tensor => sqrt(maximum(sum(square(x), { axis }), eps * eps))
  return div(inner, mul(length(a), length(b)))
}
