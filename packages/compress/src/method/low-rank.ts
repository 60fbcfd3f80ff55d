import { encode, fail, type Part } from "@thimble/core"
import type { Json } from "@thimble/models"
import { under } from "../format/factored.ts"
import { lowRankFactors } from "../prune/low-rank.ts"
import type { MatrixShape, Parts, QuantizedFormat } from "../quantizer.ts"
import type { Method } from "../recipe/method.ts"
import { gram } from "../recipe/statistic.ts"

export interface LowRankOptions {
  /** Columns of the left factor, and rows of the right one. */
  readonly rank?: number
  /** Or what share of its elements a matrix keeps: rank = ⌊share·rows·columns/(rows + columns)⌋. */
  readonly share?: number
  /** Nearest in the outputs over the calibration data, not in the elements; it is, unless given. */
  readonly aware?: boolean
  /** What both factors are stored in: f32 unless given. */
  readonly format?: "f32" | "f16" | "bf16" | QuantizedFormat
}

/** Two factors of a low rank stand for a matrix; see {@link lowRankFactors}. */
export function lowRank({ rank, share, aware = true, format = "f32" }: LowRankOptions): Method {
  if ((rank === undefined) === (share === undefined)) fail("value", "lowRank", "needs either a rank or a share", "lowRank({ share: 0.5 })")
  if (rank !== undefined && !(Number.isInteger(rank) && rank >= 1)) fail("value", "lowRank", `a rank is a whole number from 1, got ${rank}`)
  if (share !== undefined && !(share > 0 && share < 1)) fail("value", "lowRank", `a share lies between 0 and 1, got ${share}`)
  const plain = typeof format === "string"
  const rankOf = ([rows, columns]: MatrixShape): number => rank ?? Math.max(1, Math.floor((share! * rows * columns) / (rows + columns)))
  const bytesOf = (shape: MatrixShape): number => (plain ? (format === "f32" ? 4 : 2) * shape[0] * shape[1] : format.storageBytes(shape))
  return {
    name: aware ? "low rank, outputs" : "low rank",
    toJSON: (): Json => ({ method: "lowRank", ...(rank !== undefined && { rank }), ...(share !== undefined && { share }), aware, format: plain ? format : format.name }),
    ...(aware && { observes: [gram] }),
    target(shape) {
      const [rows, columns] = shape, r = rankOf(shape)
      if (r * (rows + columns) >= rows * columns) return { unfit: `two factors of rank ${r} hold ${r * (rows + columns)} elements, and the matrix ${rows * columns}: no saving` }
      const unit = plain ? 1 : (format.unit ?? 1)
      if (r % unit !== 0 || columns % unit !== 0) return { unfit: `rows of ${r} and of ${columns} are not whole multiples of ${unit}, which ${(format as QuantizedFormat).name} needs` }
      return { format, rank: r, bytes: bytesOf([rows, r]) + bytesOf([r, columns]) }
    },
    async round({ values, shape }, statistics) {
      const r = rankOf(shape), { left, right } = lowRankFactors(values, shape, r, aware ? ((await statistics!.of(gram).data()) as Float32Array) : undefined)
      const stored = (v: Float64Array, s: MatrixShape): Parts => (plain ? { values: elements(v, s, format) } : format.encode(Float32Array.from(v), s))
      return { stored: { format, rank: r, parts: { ...under("left", stored(left, [shape[0], r])), ...under("right", stored(right, [r, shape[1]])) } } }
    },
  }
}

/** Numbers as elements of a dtype. */
function elements(values: Float64Array, shape: MatrixShape, dtype: "f32" | "f16" | "bf16"): Part {
  const rounded = Float32Array.from(values)
  return { data: dtype === "f32" ? rounded : Uint16Array.from(rounded, (v) => encode(dtype, v)), shape, dtype }
}
