import { fail, type QuantizedOptions, type Weight } from "@thimble/core"
import type { MatrixShape, SolvableFormat } from "../quantizer.ts"
import { weightOf, type Stored } from "../recipe/method.ts"
import type { GptqResult } from "./gptq.ts"

/** What has to be known to store a solution. */
export type Solution = Pick<GptqResult, "codes" | "scales" | "zeros" | "groupOf" | "order">

/**
 * What was solved for, as it is stored in the format that it was solved in. Groups of columns that are no neighbours (by
 * activity, grids not static) are stored as neighbours, under a permutation.
 */
export function storedSolution(format: SolvableFormat, shape: MatrixShape, { codes, scales, zeros, groupOf, order }: Solution): Stored {
  const { grids } = format, [rows, columns] = shape
  if (grids === undefined) return fail("value", "storedSolution", `${format.name} does not say how codes are packed`)
  const groups = format.group === Infinity ? 1 : Math.ceil(columns / format.group)
  if (codes.length !== rows * columns || scales.length !== rows * groups) fail("shape", "storedSolution", `${codes.length} codes on ${scales.length} grids are none of ${format.name} for [${rows}, ${columns}]`, "solve with this format")
  if (groupOf.every((g, j) => groups === 1 || g === Math.floor(j / format.group))) return { format, parts: grids.pack(codes, scales, zeros, shape) }
  return { format, parts: grids.pack(codes.map((_, at) => codes[at - (at % columns) + order[at % columns]!]!), scales, zeros, shape), order: Int32Array.from(order) }
}

/** The weight of a solution: `dense()` is its `values`, exactly. */
export const solvedWeight = (format: SolvableFormat, shape: MatrixShape, solution: Solution, options: QuantizedOptions = {}): Weight =>
  weightOf({ ...storedSolution(format, shape, solution), ...options }, shape)
