import { castTo, div, eq, fail, gt, matmul, maximum, reshape, smoothL1Loss, sqrt, square, stopGradient, sub, sum as total, transpose, unsqueeze, where, arange, type Tensor } from "@thimble/core"
import { pooled } from "./hidden.ts"
import { part, weightedSum, type Loss } from "./loss.ts"

export interface RelationalOptions {
  /** Weight of the distances; 1 unless given. */
  readonly distance?: number
  /** Weight of the angles; 2 unless given. */
  readonly angle?: number
}

/** Distances between all rows of x [n, d], divided by the mean of those above 0: [n, n]. */
function distances(x: Tensor): Tensor {
  const n = x.shape[0]!
  const squares = total(square(sub(unsqueeze(x, 0), unsqueeze(x, 1))), { axis: -1 }), diagonal = eq(reshape(arange(n), [n, 1]), arange(n))
  // The root has no slope at 0, and a row is at 0 from itself.
  const d = where(diagonal, 0, sqrt(maximum(where(diagonal, 1, squares), 1e-12)))
  const positive = castTo(gt(d, 0), d.dtype)
  return div(d, maximum(div(total(d), maximum(total(positive), 1)), 1e-12))
}
/** Cosines of the angles at row i between rows j and k of x [n, d]: [n, n, n]. */
function angles(x: Tensor): Tensor {
  const way = sub(unsqueeze(x, 0), unsqueeze(x, 1)), squares = total(square(way), { axis: -1, keepDims: true })
  const unit = div(way, sqrt(where(gt(squares, 0), maximum(squares, 1e-24), 1)))
  return matmul(unit, transpose(unit))
}

/**
 * Relational distillation, RKD (Park et al., 2019, arXiv:1904.05068, equations 4 to 9): distances between the examples of a
 * batch, and angles of triples of them, are compared by the Huber loss. Examples are what the head reads, the mean over
 * positions; widths may differ.
 */
export function relational({ distance = 1, angle = 2 }: RelationalOptions = {}): Loss {
  if (!(distance >= 0 && angle >= 0 && distance + angle > 0)) fail("value", "relational", `weights must be ≥ 0 and not both 0, got ${distance} and ${angle}`)
  return {
    name: "relational",
    needs: { student: ["final"], teacher: ["final"] },
    compute(view) {
      const own = pooled(part("relational", "student", "final stream", view.student.final), view)
      const taught = castTo(stopGradient(pooled(part("relational", "teacher", "final stream", view.teacher?.final), view)), own.dtype)
      if (own.shape[0]! !== taught.shape[0]!) fail("shape", "relational", `${own.shape[0]!} examples of the student, ${taught.shape[0]!} of the teacher`)
      if (own.shape[0]! < 2) fail("shape", "relational", "one example has no relations", "use a larger batch")
      const compared = (of: (x: Tensor) => Tensor): Tensor => smoothL1Loss(of(own), of(taught))
      return weightedSum([...(distance > 0 ? [[distance, compared(distances)] as const] : []), ...(angle > 0 ? [[angle, compared(angles)] as const] : [])])
    },
  }
}
