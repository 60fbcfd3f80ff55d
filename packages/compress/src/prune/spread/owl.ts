import { fail } from "@thimble/core"
import { squares } from "../../recipe/statistic.ts"
import type { ShareSpread } from "../spread.ts"
import { wandaScores } from "../wanda.ts"

export interface OwlOptions {
  /** Times the mean of a matrix, from where on |w|·‖x‖ is an outlier; 5 unless given. */
  readonly outlier?: number
  /** How far the share of a layer may be from the mean; 0.08 unless given. */
  readonly most?: number
}

/**
 * Layers with more outliers lose less (OWL, Yin et al., arXiv 2310.05175): what stays of a layer is the mean plus up to ±most, in
 * proportion to the share of its |w|·‖x‖ that are outliers of their matrix.
 */
export function owl({ outlier = 5, most = 0.08 }: OwlOptions = {}): ShareSpread<number> {
  if (!(outlier > 0 && most >= 0 && most < 1)) fail("value", "owl", `outliers from ${outlier} times the mean on and shares up to ${most} from it are none`)
  return {
    name: "owl", toJSON: () => ({ spread: "owl", outlier, most }), observes: [squares],
    async measure({ values, shape }, _tiles, statistics) {
      const scores = wandaScores(values, shape, (await statistics!.of(squares).data()) as Float32Array), mean = scores.reduce((a, b) => a + b, 0) / scores.length
      return scores.reduce((n, s) => n + Number(s > outlier * mean), 0)
    },
    shares(matrices, share) {
      const layers = new Map<string, { outliers: number; size: number }>(), key = (m: (typeof matrices)[number]): string => (m.layer === undefined ? m.path : String(m.layer))
      for (const m of matrices) {
        const own = layers.get(key(m)) ?? layers.set(key(m), { outliers: 0, size: 0 }).get(key(m))!
        own.outliers += m.measured
        own.size += m.shape[0] * m.shape[1]
      }
      const ratios = new Map([...layers].map(([k, { outliers, size }]) => [k, outliers / size])), lowest = Math.min(...ratios.values()), spread = Math.max(...ratios.values()) - lowest
      const raised = new Map([...ratios].map(([k, r]) => [k, spread === 0 ? 0 : ((r - lowest) / spread) * 2 * most]))
      // The mean by elements stays what it is.
      const total = [...layers.values()].reduce((n, l) => n + l.size, 0), mean = [...layers].reduce((n, [k, { size }]) => n + (raised.get(k)! * size) / total, 0)
      return matrices.map((m) => Math.max(0, Math.min(1, share - (raised.get(key(m))! - mean))))
    },
  }
}
