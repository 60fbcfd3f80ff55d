import { bytesOf, expr, type Expr, type Part } from "@thimble/core"
import { packing } from "../packing.ts"
import type { StoredCodes } from "./coded-format.ts"
import { outlineOf, type IntegerCodes } from "./codes.ts"
import { unencoded } from "./unencoded.ts"

const { cast, div, int } = expr

/** Integer codes as a weight, laid out as `int()` of `@thimble/compress` has them: 8 symmetric bits as signed bytes, others in planes. */
export function integerFormat(codes: IntegerCodes): StoredCodes {
  const { bits, shape, scales, zeros, mins, group, groupOf } = codes, [rows, columns] = shape
  const middle = 2 ** (bits - 1), packed = packing(bits), signed = bits === 8 && !zeros && !mins, outline = outlineOf(codes)
  const groups: readonly [number, number] = [rows, scales.shape[1]!], size = group === Infinity ? undefined : group
  const each = (bytesOf(scales.dtype) * (mins ? 2 : 1) + (zeros ? 1 : 0)) * 8
  const at = (part: Parameters<typeof packed.code>[0], name: string, row: Expr, column: Expr): Expr =>
    part(name, row, groupOf ? cast(part("groupOf", column), "i32") : size === undefined ? int(0) : div(column, int(size)))
  const name = `${zeros || mins ? "u" : ""}int${bits}${size === undefined ? "" : `g${size}`}${scales.dtype === "f16" ? "" : ` ${scales.dtype}`}${mins ? " affine" : ""}${groupOf ? " ordered" : ""}`
  return {
    format: {
      name, bits: bits + (size === undefined ? 0 : each / size), group: groupOf ? 1 : group,
      encode: unencoded(name),
      code: signed ? (part, row, column) => part("codes", row, column) : packed.code,
      ...(zeros ? { zero: (part, row, column) => cast(at(part, "zeros", row, column), "i32") } : signed || mins ? {} : { zero: () => int(middle) }),
      scale: (part, row, column) => at(part, "scales", row, column),
      ...(mins && { min: (part, row, column) => at(part, "mins", row, column) }),
      outline: (shape) => ({ ...outline, shape }),
      codes: (parts, shape) => ({
        kind: "integer", bits, shape, group, scales: parts.scales!,
        codes: signed ? Uint8Array.from(parts.codes!.data, (q) => q + middle) : packed.unpack(parts, shape),
        ...(zeros && { zeros: parts.zeros!.data as Uint8Array }), ...(mins && { mins: parts.mins! }), ...(groupOf && { groupOf: parts.groupOf!.data as Int32Array }),
      }),
    },
    parts: {
      ...(signed ? { codes: { data: Int8Array.from(codes.codes, (q) => q - middle), shape, dtype: "i8" } satisfies Part } : packed.pack(codes.codes, shape)),
      scales: { ...scales, shape: groups },
      ...(zeros && { zeros: { data: zeros, shape: groups, dtype: "u8" } satisfies Part }),
      ...(mins && { mins: { ...mins, shape: groups } }),
      ...(groupOf && { groupOf: { data: groupOf, shape: [columns], dtype: "i32" } satisfies Part }),
    },
  }
}
