import { bf16Value, f16Value } from "@thimble/core"
import { bitmask, nOfM } from "../sparse/masked.ts"
import type { SparseValues } from "../sparse/values.ts"
import type { StoredCodes } from "./coded-format.ts"
import type { SparseCodes } from "./codes.ts"
import { sharedFormat } from "./shared-format.ts"

/** A sparse matrix as a weight: two of each four neighbours, or bits and values. */
export function sparseFormat({ shape, values: { data, dtype }, pairs }: SparseCodes): StoredCodes {
  const values = dtype as SparseValues, format = sharedFormat(`${pairs ? "2:4" : "bitmask"} ${values}`, () => (pairs ? nOfM(2, 4, { values }) : bitmask({ values })))
  const plain = dtype === "f32" ? (data as Float32Array) : Float32Array.from(data, dtype === "f16" ? f16Value : bf16Value)
  return { format, parts: format.encode(plain, shape) }
}
