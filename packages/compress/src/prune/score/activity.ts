import { abs, castTo, fail, gt, sum } from "@thimble/core"
import type { Statistic } from "../../recipe/statistic.ts"
import type { Score } from "../score.ts"

/**
 * How often the input that a weight is multiplied with is not zero: one minus the average percentage of zeros (APoZ, Hu et al.,
 * arXiv 1607.03250). Magnitudes up to `threshold`, 0 unless given, count as zero. It is the same for a whole column.
 */
export function activity({ threshold = 0 }: { readonly threshold?: number } = {}): Score {
  if (!(threshold >= 0 && threshold < Infinity)) fail("value", "activity", `the threshold must be a number ≥ 0, got ${threshold}`)
  const active: Statistic = { name: `active ${threshold}`, combine: "add", take: (x) => sum(castTo(gt(abs(x), threshold), "f32"), { axis: 0 }) }
  return {
    name: "activity", toJSON: () => ({ score: "activity", threshold }), observes: [active],
    async of({ values, shape: [, columns] }, statistics) {
      const counts = (await statistics!.of(active).data()) as Float32Array
      return Float64Array.from(values, (_, i) => counts[i % columns]! / statistics!.tokens)
    },
  }
}
