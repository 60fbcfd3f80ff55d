import { isFloat, isInteger } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { stopGradient } from "../grad.ts"
import { axisOf, sameShape, sizeOf } from "../shape.ts"
import { apply, type Op, type Tensor } from "../tensor.ts"
import { arange } from "./create.ts"
import { moveAxis } from "./arrange.ts"
import { add, castTo, div, eq, mul, ne, neg, sub, where } from "./elementwise.ts"
import { gatherOr, knownRange } from "./indexing.ts"
import { checkReduction, reductions, type LossOptions } from "./losses.ts"
import { exp, log } from "./math.ts"
import { reshape } from "./movement.ts"
import { amax, sum } from "./reduce.ts"
import { logSoftmax } from "./softmax.ts"

export interface ClassOptions extends LossOptions {
  /** Class axis of x, the last unless given (torch's is 1). */
  readonly axis?: number
  /** Factor of each class, [classes]; a mean divides by the factors' sum. No gradient flows to it. */
  readonly weight?: Tensor
  /** Rows with this target do not count, -100 unless given. */
  readonly ignoreIndex?: number
}
export interface CrossEntropyOptions extends ClassOptions {
  /** Share of the target that is spread evenly over all classes, 0 unless given. */
  readonly labelSmoothing?: number
}

interface Attributes { readonly ignoreIndex: number; readonly smoothing: number; readonly weighted: boolean }
const last = { axis: -1, keepDims: true }

/**
 * Loss of each row of x [rows, classes] for targets [rows, 1], [rows, 1]. `most` is each row's maximum and `rest` the
 * logarithm of Σ exp(x − most): functions of x whose gradients are part of x's, so that nothing of x's size is stored.
 */
const crossEntropyOp: Op<Attributes> = {
  name: "crossEntropy",
  meaning: {
    expand: ([x, most, rest, target, weight], { ignoreIndex, smoothing, weighted }) => {
      const hit = sub(rest!, sub(gatherOr(x!, 1, target!, NaN), most!))
      const hard = weighted ? mul(hit, weightOf(weight!, target!)) : hit
      return where(ne(target!, ignoreIndex), smoothing === 0 ? hard : add(mul(hard, 1 - smoothing), mul(spread(), smoothing / x!.shape[1]!)), 0)
      function spread(): Tensor {
        const all = sub(rest!, sub(x!, most!))
        return sum(weighted ? mul(all, weight!) : all, last)
      }
    },
  },
  result: ([, most]) => ({ shape: most!.shape, dtype: most!.dtype }),
  vjp: (dy, _out, [x, most, rest, target, weight], { ignoreIndex, smoothing, weighted }) => {
    const classes = x!.shape[1]!, each = smoothing / classes
    const p = exp(sub(sub(x!, most!), rest!)), hit = eq(target!, arange(classes))
    const share = weighted ? mul(weightOf(weight!, target!), 1 - smoothing) : 1 - smoothing
    const total = weighted ? add(share, mul(sum(weight!), each)) : 1
    const taken = where(hit, share, 0)
    const slope = sub(mul(p, total), smoothing === 0 ? taken : add(taken, weighted ? mul(weight!, each) : each))
    return [where(ne(target!, ignoreIndex), mul(dy, slope), 0), null, null, null, null].slice(0, weighted ? 5 : 4)
  },
}
/** Factor of each row's target class, [rows, 1]; NaN for a class there is not. */
const weightOf = (weight: Tensor, target: Tensor): Tensor => reshape(gatherOr(weight, 0, reshape(target, [target.size]), NaN), target.shape)

interface Rows { readonly x: Tensor; readonly target: Tensor; readonly weight: Tensor | undefined; readonly counts: Tensor; readonly ignoreIndex: number; finish(loss: Tensor): Tensor }

/** Checks class targets, and brings x to [rows, classes] and targets to [rows, 1]; `finish` reduces the losses [rows, 1]. */
function rowsOf(op: string, x: Tensor, target: Tensor, { axis = -1, weight, ignoreIndex = -100, reduction = "mean" }: ClassOptions): Rows {
  const a = axisOf(op, axis, x.rank), classes = x.shape[a]!
  checkReduction(op, reduction)
  if (!isFloat(x.dtype)) fail("dtype", op, `needs floats, got ${x.dtype}`, "cast to f32 first")
  if (!isInteger(target.dtype)) fail("dtype", op, `targets must be integers, got ${target.dtype}`)
  const want = x.shape.filter((_, i) => i !== a)
  if (!sameShape(target.shape, want)) fail("shape", op, `targets must be ${showShape(want)} for classes on axis ${axis} of ${showShape(x.shape)}, got ${showShape(target.shape)}`, axis === -1 ? "name the class axis with { axis }" : undefined)
  if (weight !== undefined && !sameShape(weight.shape, [classes])) fail("shape", op, `the weight must be [${classes}], one number per class, got ${showShape(weight.shape)}`)
  for (const t of knownRange(target) ?? []) if (t !== ignoreIndex && (t < 0 || t >= classes)) fail("index", op, `target ${t} is none of ${classes} classes, nor the ignored ${ignoreIndex}`)
  const wide = x.dtype === "f64" ? "f64" : "f32", rows = sizeOf(want)
  const flat = castTo(reshape(target, [rows, 1]), "i32"), factors = weight && castTo(stopGradient(weight), wide)
  const valid = ne(flat, ignoreIndex)
  const counts = factors === undefined ? castTo(valid, wide) : where(valid, weightOf(factors, flat), 0)
  return {
    x: castTo(reshape(moveAxis(x, a, -1), [rows, classes]), wide), target: flat, weight: factors, counts, ignoreIndex,
    finish: (loss) => castTo(reduction === "mean" ? div(sum(loss), sum(counts)) : reductions[reduction](reshape(loss, want)), x.dtype),
  }
}

/** Negative log-likelihood −x[target] of rows of log-probabilities x. */
export function nllLoss(x: Tensor, target: Tensor, options: ClassOptions = {}): Tensor {
  const rows = rowsOf("nllLoss", x, target, options)
  const hit = neg(gatherOr(rows.x, 1, rows.target, NaN))
  const loss = rows.weight === undefined ? hit : mul(hit, weightOf(rows.weight, rows.target))
  return rows.finish(where(ne(rows.target, rows.ignoreIndex), loss, 0))
}

/**
 * Cross entropy of softmax(x) with targets: class indices (integers, in the shape of x without its class axis), or
 * probabilities (floats, in x's shape). A mean divides by the rows that count, with class weights by the sum of their
 * weights; with probabilities, by the number of rows. Index targets of unknown value that are no class give NaN.
 */
export function crossEntropy(x: Tensor, target: Tensor, { labelSmoothing = 0, ...options }: CrossEntropyOptions = {}): Tensor {
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) fail("value", "crossEntropy", `labelSmoothing must lie in 0 … 1, got ${labelSmoothing}`)
  if (isFloat(target.dtype)) return withProbabilities(x, target, labelSmoothing, options)
  const rows = rowsOf("crossEntropy", x, target, options)
  if (rows.x.size === 0) return rows.finish(rows.counts)
  const most = stopGradient(amax(rows.x, last)), rest = log(sum(exp(sub(rows.x, most)), last))
  const src = [rows.x, most, rest, rows.target, ...(rows.weight ? [rows.weight] : [])]
  return rows.finish(apply(crossEntropyOp, src, { ignoreIndex: rows.ignoreIndex, smoothing: labelSmoothing, weighted: rows.weight !== undefined }))
}

function withProbabilities(x: Tensor, target: Tensor, smoothing: number, { axis = -1, weight, reduction = "mean" }: ClassOptions): Tensor {
  const op = "crossEntropy", a = axisOf(op, axis, x.rank), classes = x.shape[a]!
  checkReduction(op, reduction)
  if (!sameShape(x.shape, target.shape)) fail("shape", op, `the logits ${showShape(x.shape)} and probabilities ${showShape(target.shape)} must have one shape`)
  if (weight !== undefined && !sameShape(weight.shape, [classes])) fail("shape", op, `the weight must be [${classes}], one number per class, got ${showShape(weight.shape)}`)
  const aim = smoothing === 0 ? target : add(mul(target, 1 - smoothing), smoothing / classes)
  const factors = weight && reshape(stopGradient(weight), [classes, ...x.shape.slice(a + 1).map(() => 1)])
  const terms = mul(aim, logSoftmax(x, a))
  const loss = neg(sum(factors === undefined ? terms : mul(terms, factors), { axis: a }))
  return reduction === "mean" ? div(sum(loss), x.size / classes) : reductions[reduction](loss)
}
