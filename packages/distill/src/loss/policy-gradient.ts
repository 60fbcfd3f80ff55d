import { castTo, cumsum, div, flip, gather, logSoftmax, maximum, mul, reshape, stopGradient, sub, type Tensor } from "@thimble/core"
import { rowsOf, studentLogits, teacherLogits } from "./divergence.ts"
import { kullbackLeibler } from "./kullback-leibler.ts"
import { labelled, meanOver, part, type Loss } from "./loss.ts"

export interface PolicyGradientOptions {
  /** What a token is held responsible for: the `mean` reward of those after it (unless given), so that long texts are not shunned, or their `sum`. */
  readonly returns?: "mean" | "sum"
}

/**
 * MiniLLM (Gu et al., 2023, arXiv:2306.08543, §2.2: single-step decomposition and length normalization; its sampling from a mixture with the teacher is left out): the gradient of KL(student ‖ teacher) of whole texts that the student wrote
 * (`onPolicy`), with r = log p/q of each token that was drawn. What the next token alone decides is exact, the reverse KL
 * at each position; what comes after it is a policy gradient, −R·∇log q, with R the (mean) rewards of the tokens after. The value is
 * the reverse KL by position. Labels are what was written.
 */
export const policyGradient = ({ returns = "mean" }: PolicyGradientOptions = {}): Loss => ({
  name: "policyGradient",
  needs: { student: ["logits"], teacher: ["logits"], labels: true },
  compute(view) {
    const own = studentLogits("policyGradient", view), shape = own.shape.slice(0, -1), [positions, rows] = [shape.at(-1)!, own.size / own.shape.at(-1)!]
    const q = logSoftmax(rowsOf(own)), p = castTo(stopGradient(logSoftmax(rowsOf(teacherLogits("policyGradient", view)))), q.dtype)
    const chosen = castTo(reshape(maximum(part("policyGradient", "batch", "labels", view.labels), 0), [rows, 1]), "i32"), counts = labelled(view)!
    const there = castTo(counts, q.dtype), at = (x: Tensor): Tensor => reshape(gather(x, -1, chosen), [rows])
    const lines = (x: Tensor): Tensor => reshape(x, [rows / positions, positions])
    /** Of the positions after each one of its row. */
    const after = (x: Tensor): Tensor => sub(flip(cumsum(flip(lines(x), -1), -1), -1), lines(x))
    const ahead = after(mul(sub(at(p), at(q)), there)), reward = returns === "sum" ? ahead : div(ahead, maximum(after(there), 1))
    const surrogate = mul(stopGradient(reshape(reward, [rows])), sub(at(q), stopGradient(at(q))))
    return meanOver(sub(kullbackLeibler(q, p), surrogate), counts)
  },
})
