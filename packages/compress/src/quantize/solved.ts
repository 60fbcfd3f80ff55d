import { fail, quantizedWeight, uploadParts, type QuantizedOptions, type Weight } from "@thimble/core"
import { permutedWeight } from "../format/permuted.ts"
import type { MatrixShape, SolvableFormat } from "../quantizer.ts"
import type { GptqResult } from "./gptq.ts"

/**
 * What was solved for, as it is stored in the format that it was solved in: `dense()` is the result's `values`, exactly. Groups
 * of columns that are no neighbours (by activity, grids not static) are stored as neighbours, under a permutation.
 */
export function solvedWeight(format: SolvableFormat, shape: MatrixShape, { codes, scales, zeros, groupOf, order }: GptqResult, options: QuantizedOptions = {}): Weight {
  const { grids } = format, [rows, columns] = shape
  if (grids === undefined) return fail("value", "solvedWeight", `${format.name} does not say how codes are packed`)
  const groups = format.group === Infinity ? 1 : Math.ceil(columns / format.group)
  if (codes.length !== rows * columns || scales.length !== rows * groups) fail("shape", "solvedWeight", `${codes.length} codes on ${scales.length} grids are none of ${format.name} for [${rows}, ${columns}]`, "solve with this format")
  const store = (own: Uint8Array): Weight => quantizedWeight(format, shape, uploadParts(grids.pack(own, scales, zeros, shape)), options)
  if (groupOf.every((g, j) => groups === 1 || g === Math.floor(j / format.group))) return store(codes)
  return permutedWeight(store(codes.map((_, at) => codes[at - (at % columns) + order[at % columns]!]!)), order)
}
