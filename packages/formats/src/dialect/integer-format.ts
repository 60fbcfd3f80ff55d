import { bytesOf, expr, type Expr, type Part, type PartReader } from "@thimble/core"
import { packing } from "../packing.ts"
import type { CodedFormat, StoredCodes } from "./coded-format.ts"
import { outlineOf, type IntegerCodes, type IntegerOutline } from "./codes.ts"
import { sharedFormat } from "./shared-format.ts"
import { unencoded } from "./unencoded.ts"

const { cast, div, int } = expr

/** Integer codes as a weight, laid out as `int()` of `@thimble/compress` has them: 8 symmetric bits as signed bytes, others in planes. */
export function integerFormat(codes: IntegerCodes): StoredCodes {
  const { bits, shape, scales, zeros, mins, groupOf } = codes, [rows, columns] = shape, groups: readonly [number, number] = [rows, scales.shape[1]!]
  const middle = 2 ** (bits - 1)
  return {
    format: formatOf(outlineOf(codes) as IntegerOutline),
    parts: {
      ...(isSigned(codes) ? { codes: { data: Int8Array.from(codes.codes, (q) => q - middle), shape, dtype: "i8" } satisfies Part } : packing(bits).pack(codes.codes, shape)),
      scales: { ...scales, shape: groups },
      ...(zeros && { zeros: { data: zeros, shape: groups, dtype: "u8" } satisfies Part }),
      ...(mins && { mins: { ...mins, shape: groups } }),
      ...(groupOf && { groupOf: { data: groupOf, shape: [columns], dtype: "i32" } satisfies Part }),
    },
  }
}

const isSigned = ({ bits, zeros, mins }: Pick<IntegerCodes, "bits"> & { readonly zeros?: unknown; readonly mins?: unknown }): boolean => bits === 8 && !zeros && !mins

function formatOf({ kind: _, shape: __, ...layout }: IntegerOutline): CodedFormat {
  const { bits, group, scales, zeros, mins, ordered } = layout, middle = 2 ** (bits - 1), packed = packing(bits), signed = isSigned(layout)
  const size = group === Infinity ? undefined : group, each = (bytesOf(scales) * (mins ? 2 : 1) + (zeros ? 1 : 0)) * 8
  const at = (part: PartReader, name: string, row: Expr, column: Expr): Expr => part(name, row, ordered ? cast(part("groupOf", column), "i32") : size === undefined ? int(0) : div(column, int(size)))
  const name = `${zeros || mins ? "u" : ""}int${bits}${size === undefined ? "" : `g${size}`}${scales === "f16" ? "" : ` ${scales}`}${mins ? " affine" : ""}${ordered ? " ordered" : ""}`
  return sharedFormat(name, () => ({
    name, bits: bits + (size === undefined ? 0 : each / size), group: ordered ? 1 : group,
    encode: unencoded(name),
    code: signed ? (part, row, column) => part("codes", row, column) : packed.code,
    ...(zeros ? { zero: (part, row, column) => cast(at(part, "zeros", row, column), "i32") } : signed || mins ? {} : { zero: () => int(middle) }),
    scale: (part, row, column) => at(part, "scales", row, column),
    ...(mins && { min: (part, row, column) => at(part, "mins", row, column) }),
    outline: (shape) => ({ kind: "integer", shape, ...layout }),
    codes: (parts, shape) => ({
      kind: "integer", bits, shape, group, scales: parts.scales!,
      codes: signed ? Uint8Array.from(parts.codes!.data, (q) => q + middle) : packed.unpack(parts, shape),
      ...(zeros && { zeros: parts.zeros!.data as Uint8Array }), ...(mins && { mins: parts.mins! }), ...(ordered && { groupOf: parts.groupOf!.data as Int32Array }),
    }),
  }))
}
