import { matmul, mul, sub, sum, type Weight } from "@thimble/core"
import { onDevice, type Matrix, type Statistics } from "./method.ts"
import { gram } from "./statistic.ts"

/** How far a matrix is from what it was: itself, and its outputs where the inputs were seen. */
export async function errorsOf(matrix: Matrix, weight: Weight, statistics: Statistics | undefined): Promise<{ weightError: number; outputError?: number }> {
  const w = onDevice(matrix.values, matrix.shape), h = statistics?.known(gram)
  const total = async (build: () => ReturnType<typeof sum>): Promise<number> => {
    const t = build(), value = Number((await t.data())[0])
    t.dispose()
    return value
  }
  const ratio = (part: number, whole: number): number => (part === 0 ? 0 : part / whole)
  const e = (): ReturnType<typeof sub> => sub(w, weight.dense())
  try {
    const weightError = ratio(await total(() => sum(mul(e(), e()))), await total(() => sum(mul(w, w))))
    if (h === undefined) return { weightError }
    // Σ over rows of e·H·eᵀ.
    const lost = await total(() => { const d = e(); return sum(mul(matmul(d, h), d)) }), whole = await total(() => sum(mul(matmul(w, h), w)))
    return { weightError, outputError: ratio(Math.max(0, lost), whole) }
  } finally {
    w.dispose()
  }
}
