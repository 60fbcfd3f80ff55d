import { expr } from "@thimble/core"
import type { StoredCodes } from "./coded-format.ts"
import type { RowCodes } from "./codes.ts"
import { sharedFormat } from "./shared-format.ts"
import { unencoded } from "./unencoded.ts"

/** Rows of int8 as a weight. */
export function rowFormat({ shape, codes, absmax }: RowCodes): StoredCodes {
  return {
    format: sharedFormat("int8 rows", () => ({
      name: "int8 rows", bits: 8, group: Infinity, encode: unencoded("int8 rows"),
      code: (part, row, column) => part("codes", row, column),
      scale: (part, row) => expr.div(part("absmax", row), expr.constant("f32", 127)),
      outline: (shape) => ({ kind: "rows", shape }),
      codes: (parts, shape) => ({ kind: "rows", shape, codes: parts.codes!.data as Int8Array, absmax: parts.absmax!.data as Float32Array }),
    })),
    parts: { codes: { data: codes, shape, dtype: "i8" }, absmax: { data: absmax, shape: [shape[0]], dtype: "f32" } },
  }
}
