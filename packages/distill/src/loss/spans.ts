import { add, castTo, eq, gather, logSoftmax, lt, maximum, mul, narrow, reshape, scatterAdd, stopGradient, take, where, type Tensor } from "@thimble/core"
import { rowsOf } from "./divergence.ts"
import { part, type View } from "./loss.ts"

/** Distributions over what comes at the beginning of each span of a text that two models read in tokens of their own. */
export interface SpanRows {
  /** Logarithms of probabilities [n, classes], each model's own classes. */
  readonly student: Tensor
  readonly teacher: Tensor
  /** Which spans there are [n]. */
  readonly counts: Tensor
}

/**
 * A span of several tokens is one event, by the chain rule: p(v, then what followed) = p(v | before)·Π p(tⱼ | before, t₁ … tⱼ₋₁) for its
 * first token v and the tokens t₂ … that the text goes on with. Of a span of one token it is the distribution itself.
 */
export function spanRows(loss: string, view: View): SpanRows {
  const { inputs: _, labels, first, teacherFirst, counts, rest, teacherRest } = part(loss, "batch", "readings", view.readings), n = counts.size
  const merged = (logits: Tensor, next: Tensor, first: Tensor, later: Tensor): Tensor => {
    const rows = rowsOf(logits.dtype === "f64" ? logits : castTo(logits, "f32")), logs = logSoftmax(rows)
    const flat = reshape(later, [later.size]), ids = reshape(maximum(next, 0), [next.size, 1])
    const each = reshape(gather(logs, -1, castTo(ids, "i32")), [later.size])
    // What belongs to no span is added to one more, which is left out.
    const chain = narrow(scatterAdd(where(lt(flat, n), each, 0), flat, 0, n + 1), 0, 0, n)
    return add(take(logs, first, 0), reshape(chain, [n, 1]))
  }
  const student = merged(part(loss, "student", "logits", view.student.logits), part(loss, "batch", "labels", view.labels), first, rest)
  const teacher = stopGradient(merged(part(loss, "teacher", "logits", view.teacher?.logits), labels, teacherFirst, teacherRest))
  return { student, teacher: castTo(teacher, student.dtype), counts }
}

/** The mean over spans that there are. */
export const meanOfSpans = (values: Tensor, counts: Tensor): Tensor => {
  const there = stopGradient(castTo(counts, values.dtype))
  return mul(where(eq(there, 0), 0, values), there).sum().div(there.sum().maximum(1e-6))
}
