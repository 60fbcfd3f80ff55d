import { expr, type Format, type Part } from "@thimble/core"
import { packing } from "../packing.ts"
import { inUnits, powerOfTwo, smallValues, spelled } from "../small-float.ts"
import type { CodedFormat, StoredCodes } from "./coded-format.ts"
import { microGroup, type MicroCodes } from "./codes.ts"
import { sharedFormat } from "./shared-format.ts"
import { unencoded } from "./unencoded.ts"

const { cast, div, int } = expr

/** MXFP4 and NVFP4 as a weight. */
export function microFormat({ shape, codes, scales, divisor }: MicroCodes): StoredCodes {
  const groups = [shape[0], shape[1] / microGroup(divisor !== undefined)] as const
  return {
    format: formatOf(divisor !== undefined),
    parts: {
      ...packing(4).pack(codes, shape),
      scales: { data: scales, shape: groups, dtype: "u8" },
      ...(divisor !== undefined && { divisor: { data: Float32Array.of(divisor), shape: [1], dtype: "f32" } satisfies Part }),
    },
  }
}

function formatOf(divided: boolean): CodedFormat {
  const name = divided ? "nvfp4 divided" : "mxfp4", group = microGroup(divided)
  return sharedFormat(name, () => {
    const { tables, unit, look } = spelled("e2m1"), packed = packing(4), powers: Part = { data: smallValues("e4m3"), shape: [256], dtype: "f32" }
    const scale: Format["scale"] = (part, row, column) => {
      const own = cast(part("scales", row, div(column, int(group))), "i32")
      return inUnits(divided ? div(part("powers", own), part("divisor", int(0))) : powerOfTwo(own), unit)
    }
    return {
      name, bits: 4 + 8 / group, group, tables: { ...tables, ...(divided && { powers }) }, encode: unencoded(name), scale,
      code: (part, row, column) => look(part, packed.code(part, row, column)),
      outline: (shape) => ({ kind: "micro", shape, divided }),
      codes: (parts, shape) => ({ kind: "micro", shape, codes: packed.unpack(parts, shape), scales: parts.scales!.data as Uint8Array, ...(divided && { divisor: parts.divisor!.data[0]! }) }),
    }
  })
}
