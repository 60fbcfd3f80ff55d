import { abs, exp, pad, sort, sub, sum, type Tensor } from "@thimble/core"
import type { Loss } from "./loss.ts"
import { meanOfSpans, spanRows } from "./spans.ts"

/**
 * Universal logit distillation, ULD (Boizard et al., 2024, arXiv:2402.12030, its closed form): Σᵢ |p₍ᵢ₎ − q₍ᵢ₎| of both models' probabilities, each sorted,
 * the shorter ones followed by zeros: the Wasserstein distance where every pair of tokens is equally far apart. It asks nothing of
 * vocabularies. Data says what positions belong together: `readings(text, { spans: "order" })` as the paper has it, one by one.
 */
export const universal = (): Loss => ({
  name: "universal",
  needs: { student: ["logits"], teacher: ["logits"], labels: true, readings: true },
  compute(view) {
    const { student, teacher, counts } = spanRows("universal", view)
    return meanOfSpans(sortedDistance(exp(teacher), exp(student)), counts)
  },
})

/** Σᵢ |p₍ᵢ₎ − q₍ᵢ₎| of rows of any two lengths, sorted. */
export function sortedDistance(p: Tensor, q: Tensor): Tensor {
  const width = Math.max(p.shape[1]!, q.shape[1]!)
  const sorted = (x: Tensor): Tensor => {
    const { values } = sort(x, { descending: true }), missing = width - x.shape[1]!
    return missing === 0 ? values : pad(values, [[0, 0], [0, missing]])
  }
  return sum(abs(sub(sorted(p), sorted(q))), { axis: -1 })
}
