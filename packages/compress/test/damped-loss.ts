import type { MatrixShape } from "../src/index.ts"

/** (w − ŵ)·H·(w − ŵ)ᵀ of each row, for H with `damping` times the mean of its diagonal added: what a solver's loss has to be. */
export function dampedLosses(w: ArrayLike<number>, values: ArrayLike<number>, h: ArrayLike<number>, damping: number, [rows, columns]: MatrixShape): number[] {
  const mean = Array.from({ length: columns }, (_, i) => h[i * columns + i]!).reduce((a, b) => a + b) / columns
  return Array.from({ length: rows }, (_, r) => {
    const e = Array.from({ length: columns }, (_, i) => w[r * columns + i]! - values[r * columns + i]!)
    let sum = 0
    for (let i = 0; i < columns; i++) for (let j = 0; j < columns; j++) sum += e[i]! * (h[i * columns + j]! + (i === j ? damping * mean : 0)) * e[j]!
    return sum
  })
}
