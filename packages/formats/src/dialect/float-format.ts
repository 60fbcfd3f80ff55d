import { bytesOf, expr, type Expr } from "@thimble/core"
import { smallValues } from "../small-float.ts"
import type { StoredCodes } from "./coded-format.ts"
import type { FloatCodes } from "./codes.ts"
import { sharedFormat } from "./shared-format.ts"
import { unencoded } from "./unencoded.ts"

/** 8-bit floats as a weight. */
export function floatFormat(codes: FloatCodes): StoredCodes {
  const { shape, scales, block } = codes, { dtype } = scales
  const place = (i: Expr, size: number): Expr => (size === Infinity ? expr.int(0) : size === 1 ? i : expr.div(i, expr.int(size)))
  const name = `fp e4m3 by ${block.join("×")}${dtype === "f32" ? "" : ` ${dtype}`}`
  return {
    format: sharedFormat(name, () => ({
      name, bits: 8 + (8 * bytesOf(dtype)) / (block[0] * block[1]), group: block[1],
      tables: { values: { data: smallValues("e4m3"), shape: [256], dtype: "f32" } },
      encode: unencoded(name),
      code: (part, row, column) => part("values", expr.cast(part("codes", row, column), "i32")),
      scale: (part, row, column) => part("scales", place(row, block[0]), place(column, block[1])),
      outline: (shape) => ({ kind: "float", shape, block, scales: dtype }),
      codes: (parts, shape) => ({ kind: "float", shape, block, codes: parts.codes!.data as Uint8Array, scales: parts.scales! }),
    })),
    parts: { codes: { data: codes.codes, shape, dtype: "u8" }, scales },
  }
}
