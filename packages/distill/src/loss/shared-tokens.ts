import { add, cat, exp, fail, log, maximum, mul, sub, sum, take, tensor, type Tensor } from "@thimble/core"
import type { Tokenizer } from "@thimble/formats"
import { kullbackLeibler } from "./kullback-leibler.ts"
import type { Loss } from "./loss.ts"
import { meanOfSpans, spanRows } from "./spans.ts"
import { sortedDistance } from "./universal.ts"

/** Tokens of one name in both vocabularies: [student's id, teacher's id]. */
export type SharedTokens = readonly (readonly [student: number, teacher: number])[]

/** Tokens that two vocabularies call by the same name. */
export const sharedTokens = (student: Tokenizer, teacher: Tokenizer): SharedTokens =>
  Array.from({ length: student.size }, (_, id) => [id, teacher.idOf(student.tokenOf(id))] as const).filter((pair): pair is readonly [number, number] => pair[1] !== undefined && pair[1] < teacher.size)

export interface SharedOptions {
  readonly shared: SharedTokens
  /** Factor of the tokens that both know; 1 unless given. */
  readonly known?: number
  /** Factor of those that only one knows; 1 unless given. */
  readonly unknown?: number
}

/**
 * Distillation between vocabularies that share tokens, after General Online Logit Distillation, GOLD (the hybrid loss of `GOLDTrainer` in Hugging Face's TRL, 2025): over spans
 * of the text on whose boundaries both models agree, the KL divergence on tokens that both know, all others as one class more, and
 * {@link universal} on those that only one knows. The class of all others (ours) makes it ≥ 0, and 0 only if both agree.
 */
export function sharedVocabulary({ shared, known = 1, unknown = 1 }: SharedOptions): Loss {
  if (shared.length === 0) fail("value", "sharedVocabulary", "the vocabularies share no token", "universal() needs none")
  const own = new Set(shared.map(([s]) => s)), other = new Set(shared.map(([, t]) => t))
  if (own.size !== shared.length || other.size !== shared.length) fail("value", "sharedVocabulary", "a token stands for two of the other vocabulary")
  const ids = (of: readonly number[]): Tensor => tensor(Int32Array.from(of), { shape: [of.length] })
  return {
    name: "sharedVocabulary",
    needs: { student: ["logits"], teacher: ["logits"], labels: true, readings: true },
    check(student, teacher) {
      const beyond = shared.find(([s, t]) => (student.classes !== undefined && s >= student.classes) || (teacher?.classes !== undefined && t >= teacher.classes))
      if (beyond) fail("index", "sharedVocabulary", `tokens ${beyond.join(" and ")} of ${student.classes} and ${teacher?.classes}`)
    },
    compute(view) {
      const { student, teacher, counts } = spanRows("sharedVocabulary", view)
      const [q, p] = [take(student, ids(shared.map(([s]) => s)), 1), take(teacher, ids(shared.map(([, t]) => t)), 1)]
      const both = mul(kullbackLeibler(withOthers(p), withOthers(q)), known)
      const alone = (x: Tensor, taken: ReadonlySet<number>): Tensor | undefined => {
        const left = Array.from({ length: x.shape[1]! }, (_, i) => i).filter((i) => !taken.has(i))
        return left.length === 0 ? undefined : exp(take(x, ids(left), 1))
      }
      const [a, b] = [alone(teacher, other), alone(student, own)]
      const rows = a === undefined && b === undefined ? both : add(both, mul(a && b ? sortedDistance(a, b) : sum((a ?? b)!, { axis: -1 }), unknown))
      return meanOfSpans(rows, counts)
    },
  }
}
const withOthers = (x: Tensor): Tensor => cat([x, log(maximum(sub(1, sum(exp(x), { axis: -1, keepDims: true })), 1e-12))], -1)
