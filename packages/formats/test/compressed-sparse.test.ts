import fc from "fast-check"
import { expect, test } from "vitest"
import { f16Bits } from "@thimble/core"
import { isSparse, readSparse, sparsityConfig, writeSparse } from "../src/index.ts"

const matrix = (pairs: boolean) => fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 8 }), fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 256, maxLength: 256 })).map(([rows, c, v]) => {
  const columns = pairs ? 4 * c : 3 * c, data = Float32Array.from({ length: rows * columns }, (_, i) => v[i]!)
  if (pairs) for (let i = 0; i < data.length; i += 4) for (const j of [0, 1, 2, 3].sort((a, b) => v[i + a]! - v[i + b]! || a - b).slice(2)) data[i + j] = 0
  return { data, shape: [rows, columns] as const, dtype: "f32" as const }
})

for (const layout of ["sparse-bitmask", "sparse-24-bitmask"] as const)
  test(`${layout}: what is written is read again, in as many bytes as bits and values take`, () => fc.assert(fc.property(matrix(layout === "sparse-24-bitmask"), (m) => {
    const tensors = writeSparse("a", m, layout), [rows, columns] = m.shape, filled = m.data.reduce((n, v) => n + Number(v !== 0), 0)
    expect(isSparse(tensors)).toBe(true)
    expect(readSparse("a", tensors, m.shape)).toEqual({ kind: "sparse", shape: m.shape, pairs: layout === "sparse-24-bitmask", values: m })
    expect(tensors.bitmask!.data.length).toBe(rows * Math.ceil(columns / 8))
    expect(tensors.compressed!.data.length).toBe(layout === "sparse-bitmask" ? filled : m.data.length / 2)
  })))

test("tensors as vLLM names and lays them: the first bit is the lowest, 2:4 has values in rows and no offsets", () => {
  const half = { data: Uint16Array.from([0, 1.5, 0, 0, 0, 0, -2, 4], f16Bits), shape: [1, 8], dtype: "f16" as const }
  const any = writeSparse("a", half, "sparse-bitmask"), pairs = writeSparse("a", half, "sparse-24-bitmask")
  expect(Object.fromEntries(Object.entries(any).map(([k, t]) => [k, [t.dtype, t.shape, [...t.data].map(Number)]]))).toEqual({
    compressed: ["F16", [3], [1.5, -2, 4].map(f16Bits)], bitmask: ["U8", [1, 1], [0b11000010]], shape: ["I64", [2], [1, 8]], row_offsets: ["I64", [1], [0]],
  })
  expect(Object.fromEntries(Object.entries(pairs).map(([k, t]) => [k, [t.dtype, t.shape, [...t.data].map(Number)]]))).toEqual({
    compressed: ["F16", [1, 4], [0, 1.5, -2, 4].map(f16Bits)], bitmask: ["U8", [1, 1], [0b11000011]], shape: ["I64", [2, 1], [1, 8]],
  })
  expect(sparsityConfig("sparse-24-bitmask", 0.5, ["lm_head"])).toMatchObject({ format: "sparse-24-bitmask", sparsity_structure: "2:4", ignore: ["lm_head"] })
})

test("what does not fit is refused", () => {
  const full = { data: Float32Array.of(1, 2, 3, 0), shape: [1, 4], dtype: "f32" as const }, tensors = writeSparse("a", full, "sparse-bitmask")
  expect(() => writeSparse("a", full, "sparse-24-bitmask")).toThrow(/3 elements/)
  expect(() => readSparse("a", tensors, [4, 1])).toThrow(/not \[4, 1\]/)
  expect(() => readSparse("a", { ...tensors, bitmask: { ...tensors.bitmask!, data: Uint8Array.of(15) } }, [1, 4])).toThrow(/more bits/)
  expect(() => readSparse("a", { ...tensors, bitmask: { ...tensors.bitmask!, data: Uint8Array.of(3) } }, [1, 4])).toThrow(/bits for 2/)
  const { row_offsets: _, ...pairs } = tensors
  expect(() => readSparse("a", pairs, [1, 4])).toThrow(/two of each four/)
})
