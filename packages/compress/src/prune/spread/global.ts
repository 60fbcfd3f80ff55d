import type { ShareSpread } from "../spread.ts"
import { goneOf } from "../tiles.ts"
import { ranked } from "../sparsity.ts"

/** One threshold for all matrices: what has the least scores of all goes, wherever it is. Scores are compared as sums over what goes together. */
export const globally = (): ShareSpread<Float64Array> => ({
  name: "global", toJSON: () => ({ spread: "global" }),
  measure: (_matrix, tiles) => tiles,
  shares(matrices, share) {
    const total = matrices.reduce((n, m) => n + m.measured.length, 0), gone = goneOf(share, total)
    if (gone === 0) return matrices.map(() => 0)
    const all = new Float64Array(total)
    let at = 0
    for (const { measured } of matrices) {
      all.set(measured, at)
      at += measured.length
    }
    const most = ranked(all, gone - 1), below = matrices.map(({ measured }) => measured.reduce((n, s) => n + Number(s < most), 0))
    // Of those that are as large as the threshold the first go.
    let rest = gone - below.reduce((a, b) => a + b, 0)
    return matrices.map(({ measured }, i) => {
      const own = Math.min(rest, measured.reduce((n, s) => n + Number(s === most), 0))
      rest -= own
      return (below[i]! + own) / measured.length
    })
  },
})
