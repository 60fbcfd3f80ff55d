import { add, arange, castTo, div, eq, fail, linear, matmul, maximum, mul, neg, random, reshape, softplus, sqrt, square, stopGradient, sub, sum as total, transpose, where, type Tensor } from "@thimble/core"
import { pooled } from "./hidden.ts"
import { part, type Loss } from "./loss.ts"

export interface ContrastiveOptions {
  /** Examples in the whole data set, M. */
  readonly examples: number
  /** Width of the space in which they are compared; 128 unless given. */
  readonly size?: number
  /** Divides cosines; 0.07 unless given. */
  readonly temperature?: number
}

/**
 * Contrastive representation distillation, CRD (Tian et al., 2019, arXiv:1910.10699, equations 17 to 19): tells from the student's and
 * the teacher's representations whether they are of one example, with N negatives of each: the other examples of the batch, and those that the data
 * brings from a store of all (`withNegatives`), of which the authors take 16,384:
 *
 *     h(t, s) = e^a/(e^a + N/M),  a = g(t)·g(s)/τ;   the loss of an example is −log h(tᵢ, sᵢ) − Σ_{j≠i} log(1 − h(tⱼ, sᵢ))
 *
 * g is a learned linear map of each, brought to length 1. Representations are what the head reads, the mean over positions.
 */
export function contrastive({ examples, size = 128, temperature = 0.07 }: ContrastiveOptions): Loss {
  if (!(Number.isInteger(examples) && examples >= 2)) fail("value", "contrastive", `examples must be a whole number ≥ 2, got ${examples}`)
  if (!(temperature > 0)) fail("value", "contrastive", `the temperature must be positive, got ${temperature}`)
  const led = (x: Tensor, matrix: Tensor): Tensor => {
    const y = linear(x, castTo(matrix, x.dtype))
    return div(y, sqrt(maximum(total(square(y), { axis: -1, keepDims: true }), 1e-24)))
  }
  return {
    name: "contrastive",
    needs: { student: ["final"], teacher: ["final"] },
    parameters(student, teacher, key) {
      const [from, to] = [student.width, teacher.width]
      if (from === undefined || to === undefined) return fail("value", "contrastive", "student and teacher must say how wide they are")
      const matrix = (width: number, i: number): Tensor => random.normal(random.foldIn(key, i), [size, width], { std: 1 / Math.sqrt(width) })
      return { student: matrix(from, 0), teacher: matrix(to, 1) }
    },
    compute(view) {
      const need = (name: "student" | "teacher"): Tensor => part("contrastive", "batch", `parameter '${name}'`, view.parameters?.[name])
      const s = led(pooled(part("contrastive", "student", "final stream", view.student.final), view), need("student"))
      const t = led(castTo(stopGradient(pooled(part("contrastive", "teacher", "final stream", view.teacher?.final), view)), s.dtype), need("teacher"))
      const n = s.shape[0]!
      const others = view.negatives && led(castTo(stopGradient(view.negatives), s.dtype), need("teacher")), negatives = n - 1 + (others?.shape[0] ?? 0)
      if (negatives < 1) fail("shape", "contrastive", "one example has no negatives", "use a larger batch, or withNegatives(data, …)")
      // log h = −softplus(c − a) and log(1 − h) = −softplus(a − c), for c = log(N/M).
      const apart = (x: Tensor): Tensor => sub(mul(matmul(s, transpose(x)), 1 / temperature), Math.log(negatives / examples))
      const a = apart(t), same = eq(reshape(arange(n), [n, 1]), arange(n)), within = total(where(same, softplus(neg(a)), softplus(a)))
      return div(others === undefined ? within : add(within, total(softplus(apart(others)))), n)
    },
  }
}
