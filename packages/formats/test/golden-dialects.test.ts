import { quantizedWeight, uploadParts, type TypedArray } from "@thimble/core"
import { describe, expect, test } from "vitest"
import { openGolden } from "../../conformance/src/golden.ts"
import { readAwq, readCompressed, readGptq, storeCodes, writeAwq, writeGptq, writePacked, type GptqBits, type IntegerCodes, type StoredArray, type StoredModule, type StoredTensor } from "../src/index.ts"

interface Gptq {
  readonly name: string; readonly bits: GptqBits; readonly sym: boolean; readonly g: number; readonly act: boolean; readonly zero_point_zero_present: boolean
  readonly ints: string; readonly zeros: string; readonly g_idx: string; readonly qweight: string; readonly qzeros_v1: string | null; readonly qzeros_v2: string; readonly scales_f16: string
  readonly checkpoint_dequant_f32?: string
}
interface Awq { readonly name: string; readonly group_size: number; readonly ints: string; readonly zeros: string; readonly gemm_qweight: string; readonly gemm_qzeros: string; readonly gemm_scales: string; readonly as_gptq_qweight: string; readonly as_gptq_qzeros_v1: string }
interface Compressed { readonly name: string; readonly gptq_case: string; readonly weight_packed: string; readonly weight_zero_point: string | null; readonly weight_scale_f16: string; readonly weight_shape: string }

const set = await openGolden<{ readonly gptq: readonly Gptq[]; readonly awq: readonly Awq[]; readonly compressed_tensors: readonly Compressed[] }>("dialects", new URL("../fixtures", import.meta.url))
const tensor = (name: string): StoredTensor => {
  const { dtype, shape } = set.manifest.tensors[name]!
  return { dtype: ({ i32: "I32", f16: "F16", i64: "I64" } as const)[dtype as "i32"], shape, data: set.array(name) as StoredArray }
}
const plain = (name: string): number[] => Array.from(set.array(name) as TypedArray, Number)
const shapeOf = (name: string): [number, number] => set.manifest.tensors[name]!.shape as [number, number]
const middleOr = ({ zeros, bits, scales }: IntegerCodes): number[] => (zeros ? [...zeros] : new Array<number>(scales.data.length).fill(2 ** (bits - 1)))

describe("GPTQ: recorded words are these codes, and these codes are the words", () => {
  test.each(set.manifest.gptq.map((c) => [c.name, c] as const))("%s", async (_, c) => {
    for (const [version, zeros] of [[1, c.qzeros_v1], [2, c.qzeros_v2]] as const) {
      // The float packer of v1 could not write zero points of 0.
      if (zeros === null) continue
      const stored: StoredModule = { qweight: tensor(c.qweight), qzeros: tensor(zeros), scales: tensor(c.scales_f16), g_idx: tensor(c.g_idx) }
      const codes = readGptq("m", stored, shapeOf(c.ints), { version, group: c.g < 0 ? Infinity : c.g, symmetric: c.sym })
      expect(codes.bits).toBe(c.bits)
      expect([...codes.codes]).toEqual(plain(c.ints))
      expect(middleOr(codes)).toEqual(plain(c.zeros))
      expect(codes.zeros === undefined).toBe(c.sym)
      // Static groups are neighbours, whatever the order in which columns were rounded.
      const order = plain(c.g_idx), neighbours = order.every((g, i) => g === (c.g < 0 ? 0 : Math.floor(i / c.g)))
      expect(codes.groupOf ? [...codes.groupOf] : "neighbours").toEqual(neighbours ? "neighbours" : order)
      expect(writeGptq("m", codes, { version })).toEqual(stored)
      if (c.checkpoint_dequant_f32) {
        const { format, parts } = storeCodes(codes)
        expect([...(await quantizedWeight(format, codes.shape, uploadParts(parts)).dense().data())]).toEqual(plain(c.checkpoint_dequant_f32))
      }
    }
  })
  test("there is a zero point of 0 among them", () => expect(set.manifest.gptq.some((c) => c.zero_point_zero_present && plain(c.zeros).includes(0))).toBe(true))
})

test.each(set.manifest.awq.map((c) => [c.name, c] as const))("AWQ, and the same as GPTQ: %s", (_, c) => {
  const stored = { qweight: tensor(c.gemm_qweight), qzeros: tensor(c.gemm_qzeros), scales: tensor(c.gemm_scales) }
  const codes = readAwq("m", stored, shapeOf(c.ints), { group: c.group_size })
  expect([...codes.codes]).toEqual(plain(c.ints))
  expect([...codes.zeros!]).toEqual(plain(c.zeros))
  expect(writeAwq("m", codes)).toEqual(stored)
  const other = writeGptq("m", codes, { version: 1 })
  expect(other.qweight).toEqual(tensor(c.as_gptq_qweight))
  expect(other.qzeros).toEqual(tensor(c.as_gptq_qzeros_v1))
})

test.each(set.manifest.compressed_tensors.map((c) => [c.name, c] as const))("compressed-tensors: %s", (_, c) => {
  const g = set.manifest.gptq.find(({ name }) => name === c.gptq_case)!, stored: StoredModule = {
    weight_packed: tensor(c.weight_packed), weight_scale: tensor(c.weight_scale_f16), weight_shape: tensor(c.weight_shape),
    ...(c.weight_zero_point && { weight_zero_point: tensor(c.weight_zero_point) }),
  }
  const codes = readCompressed("m", stored, shapeOf(g.ints), { num_bits: g.bits, type: "int", symmetric: g.sym, strategy: "group", group_size: g.g }) as IntegerCodes
  expect([...codes.codes]).toEqual(plain(g.ints))
  expect(middleOr(codes)).toEqual(plain(g.zeros))
  expect(writePacked("m", codes)).toEqual(stored)
})
