import { hidden } from "./hidden.ts"
import { labels } from "./labels.ts"
import type { Loss } from "./loss.ts"
import { softTargets } from "./soft-targets.ts"
import { sum } from "./sum.ts"

export interface TripleOptions {
  /** Weights of soft targets, labels and cosines; [5, 2, 1] unless given, as in the authors' training script. */
  readonly weights?: readonly [soft: number, labels: number, cosine: number]
  /** Of the soft targets; 2 unless given. */
  readonly temperature?: number
}

/** DistilBERT's loss (Sanh et al., 2019, arXiv:1910.01108, §3): soft targets, labels, and the angle between the streams that the heads read. */
export const triple = ({ weights: [soft, hard, cosine] = [5, 2, 1], temperature = 2 }: TripleOptions = {}): Loss =>
  sum([soft, softTargets({ temperature })], [hard, labels()], [cosine, hidden({ layers: [["final", "final"]], distance: "cosine" })])
