import type { SparsityPattern } from "../pattern.ts"
import { checkSparsity, keptByRow } from "../sparsity.ts"

/** n of each m neighbours along a row stay: 2:4 is keepOf(2, 4). The last run of a row may be shorter, and loses as many less. */
export function keepOf(n: number, m: number): SparsityPattern {
  const sparsity = { keep: n, of: m }
  checkSparsity("keepOf", sparsity)
  return {
    name: `${n}:${m}`, neighbours: sparsity, toJSON: () => ({ pattern: "keepOf", n, m }),
    keeps: ([rows, columns]) => rows * (columns - Math.floor(columns / m) * (m - n) - Math.max(0, (columns % m) - n)),
    kept: (scores, shape) => keptByRow(scores, shape, sparsity),
  }
}
