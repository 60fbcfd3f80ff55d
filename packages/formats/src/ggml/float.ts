// ggml's unquantized types. A float is its own scale: code 1 times what is stored.
import { bf16Bits, expr, f16Bits, type DType } from "@thimble/core"
import type { BlockRow, RowEncoder } from "./block.ts"

const plain = (dtype: DType, encode: RowEncoder): BlockRow => ({
  size: 1, group: 1, layout: [["values", dtype, 1]],
  code: () => expr.int(1),
  scale: ({ column, read }) => read("values", column),
  encode,
})
const words = (bits: (v: number) => number): RowEncoder => (row, _, out) => row.forEach((v, i) => {
  const b = bits(v)
  out[2 * i] = b
  out[2 * i + 1] = b >>> 8
})

export const floats = {
  F32: plain("f32", (row, _, out) => out.set(new Uint8Array(row.buffer, row.byteOffset, row.byteLength))),
  F16: plain("f16", words(f16Bits)),
  BF16: plain("bf16", words(bf16Bits)),
} satisfies Record<string, BlockRow>
