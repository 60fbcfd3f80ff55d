import { castTo, div, fail, logSoftmax, matmul, mean, mul, permute, reshape, showShape, stopGradient, transpose, type Tensor } from "@thimble/core"
import { kullbackLeibler } from "./kullback-leibler.ts"
import { counted, meanOver, part, weightedSum, type Loss } from "./loss.ts"
import { lastBlock, pairsFor, pairsOf, type Pairing } from "./pairing.ts"

export interface RelationOptions {
  /** Which blocks are compared; the {@link lastBlock} unless given. */
  readonly layers?: Pairing
  /** Whose relations: `values` unless given. */
  readonly of?: "queries" | "keys" | "values"
  /** Heads that features are cut into, so that both models have as many (MiniLMv2); as they are unless given. */
  readonly heads?: number
}

/**
 * Relations among values (MiniLM: Wang et al., 2020, arXiv:2002.10957, equations 4 to 6), or among queries or keys (MiniLMv2:
 * arXiv:2012.15828): KL(teacher ‖ student) of softmax(V·Vᵀ/√d), the mean over heads and positions that count. Widths of heads may differ.
 */
export function relations({ layers = lastBlock(), of = "values", heads }: RelationOptions = {}): Loss {
  if (heads !== undefined && !(Number.isInteger(heads) && heads >= 1)) fail("value", "relations", `heads must be a whole number ≥ 1, got ${heads}`)
  /** Logarithms of relations [batch, heads, positions, positions]. */
  const related = (x: Tensor): Tensor => {
    const [batch, own, length, size] = x.shape as [number, number, number, number], features = own * size
    if (heads !== undefined && features % heads !== 0) fail("value", "relations", `${features} features do not make ${heads} heads`)
    const cut = heads === undefined || heads === own ? x : permute(reshape(permute(x, [0, 2, 1, 3]), [batch, length, heads, features / heads]), [0, 2, 1, 3])
    return logSoftmax(mul(matmul(cut, transpose(cut)), 1 / Math.sqrt(cut.shape[3]!)))
  }
  return {
    name: `relations of ${of}`,
    needs: { student: [of], teacher: [of] },
    check(student, teacher) {
      pairsFor("relations", layers, student, teacher)
      const [s, t] = of === "queries" ? [student.heads, teacher?.heads] : [student.kvHeads ?? student.heads, teacher?.kvHeads ?? teacher?.heads]
      if (heads === undefined && s !== undefined && t !== undefined && s !== t) fail("value", "relations", `the student has ${s} heads of ${of}, the teacher ${t}`, "say how many to cut both into: relations({ heads })")
    },
    compute(view) {
      const own = part("relations", "student", of, view.student[of]), taught = part("relations", "teacher", of, view.teacher?.[of]), counts = counted(view)
      const each = pairsOf("relations", layers, own.length, taught.length).map(([s, t]): readonly [number, Tensor] => {
        if (typeof s !== "number" || typeof t !== "number") return fail("value", "relations", "only blocks have heads")
        const q = related(own[s]!), p = castTo(stopGradient(related(taught[t]!)), q.dtype)
        if (String(p.shape) !== String(q.shape)) fail("shape", "relations", `block ${s} of the student relates ${showShape(q.shape)}, ${t} of the teacher ${showShape(p.shape)}`, "say how many heads to cut both into: relations({ heads })")
        return [1, meanOver(mean(kullbackLeibler(p, q), { axis: 1 }), counts)]
      })
      return div(weightedSum(each), each.length)
    },
  }
}
