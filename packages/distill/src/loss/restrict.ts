import { add, cat, cumsum, div, exp, fail, gather, log, logSoftmax, lt, maximum, neg, softmax, sort, stopGradient, sub, sum, topk, unsqueeze, where, amin, ge, type Tensor } from "@thimble/core"
import { rowsOf, studentLogits, teacherLogits, type Restriction } from "./divergence.ts"
import type { Top } from "./loss.ts"

export interface TopKOptions {
  /**
   * What becomes of the other classes: nothing, and the rest is made to sum to 1 (`drop`, unless given), or they count as
   * one class more (`bucket`), which needs a temperature of 1.
   */
  readonly others?: "drop" | "bucket"
}

/**
 * The teacher's k most probable classes. It is all that a teacher whose answers were stored has to know: `top` where the
 * teacher gives it, or what follows from its logits.
 */
export function topK(k: number, { others = "drop" }: TopKOptions = {}): Restriction {
  if (!Number.isInteger(k) || k < 1) fail("value", "topK", `needs a whole number of classes ≥ 1, got ${k}`)
  if (others !== "drop" && others !== "bucket") fail("value", "topK", `others must be 'drop' or 'bucket', got '${String(others)}'`)
  return {
    name: `topK(${k})`, needs: "top", top: k,
    logProbabilities(view, temperature) {
      if (others === "bucket" && temperature !== 1) fail("value", "topK", `a bucket of other classes has no temperature, got ${temperature}`)
      const own = rowsOf(studentLogits("topK", view))
      const known = view.teacher?.top
      const { indices, logProbabilities } = known === undefined ? topOf(rowsOf(teacherLogits("topK", view)), k) : { indices: rowsOf(known.indices), logProbabilities: rowsOf(known.logProbabilities) }
      if (indices.shape[1]! < k) fail("shape", "topK", `the teacher gave ${indices.shape[1]!} classes per position, ${k} are asked for`)
      const at = indices.narrow(-1, 0, k), teacher = stopGradient(logProbabilities.narrow(-1, 0, k))
      if (others === "bucket") return { teacher: withRest(teacher), student: withRest(gather(logSoftmax(own), -1, at)) }
      const soften = (x: Tensor): Tensor => logSoftmax(temperature === 1 ? x : div(x, temperature))
      return { teacher: soften(teacher), student: soften(gather(own, -1, at)) }
    },
  }
}
/** The k most probable classes of rows of logits. */
export function topOf(logits: Tensor, k: number): Top {
  const { values, indices } = topk(logSoftmax(logits), k)
  return { indices, logProbabilities: values }
}
/** Adds the logarithm of what is missing to a sum of 1. */
const withRest = (x: Tensor): Tensor => cat([x, log(maximum(sub(1, sum(exp(x), { axis: -1, keepDims: true })), 1e-12))], -1)

/** What stands for a logit that does not count: finite, so that 0 · (log 0 − log 0) is 0. */
const nothing = -1e30

/**
 * The smallest set of classes that holds a share `p` of the teacher's probability at temperature 1 (the nucleus: Holtzman
 * et al., 2019, arXiv:1904.09751); equally probable classes are in together. The rest is made to sum to 1.
 */
export function topP(p: number): Restriction {
  if (!(p > 0 && p <= 1)) fail("value", "topP", `the share must be in 0 < p ≤ 1, got ${p}`)
  return {
    name: `topP(${p})`, needs: "logits",
    logProbabilities(view, temperature) {
      const logits = rowsOf(stopGradient(teacherLogits("topP", view))), own = rowsOf(studentLogits("topP", view))
      const { values, indices } = sort(softmax(logits), { descending: true })
      // A class is in if those before it do not hold the share yet.
      const before = add(cumsum(values, -1), neg(values))
      // Rounding may let all but the least probable hold a share of 1.
      const least = amin(where(lt(before, p === 1 ? Infinity : p), gather(logits, -1, indices), Infinity), { axis: -1 })
      const kept = ge(logits, unsqueeze(least, -1))
      const soften = (x: Tensor): Tensor => logSoftmax(div(where(kept, x, nothing), temperature))
      return { teacher: soften(logits), student: soften(own) }
    },
  }
}
