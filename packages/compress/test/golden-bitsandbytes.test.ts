import { describe, expect, test } from "vitest"
import { f16Bits, f16Value, quantizedWeight, uploadParts, type TypedArray } from "@thimble/core"
import { readBook, storeCodes, writeBook, type StoredModule, type StoredTensor } from "@thimble/formats"
import { openGolden } from "../../conformance/src/golden.ts"
import { blockwise, dynamicMap } from "../src/format/dynamic-map.ts"
import { smallBits, smallValues } from "../src/format/small-float.ts"
import { fp4, nf4, int8Rows } from "../src/index.ts"

interface Four {
  readonly name: string; readonly input: string; readonly quant_type: "nf4" | "fp4"; readonly blocksize: number; readonly nested: boolean; readonly shape: readonly [number, number]
  readonly packed: string; readonly absmax: string; readonly absmax_u8: string; readonly nested_absmax: string; readonly nested_offset: number; readonly dequant_f32: string
}
interface Eight { readonly name: string; readonly layer: string; readonly threshold: number; readonly tokens: number; readonly CA: string; readonly SCA: string; readonly CB: string; readonly SCB: string; readonly outlier_cols: string | null }
interface Manifest { readonly bitsandbytes_4bit: readonly Four[]; readonly bitsandbytes_int8: readonly Eight[]; readonly bitsandbytes_blockwise8: { readonly q: string; readonly absmax: string } }

const set = await openGolden<Manifest>("bitsandbytes", new URL("../fixtures", import.meta.url))
const floats = (name: string): Float32Array => set.array(name) as Float32Array
const plain = (name: string): number[] => Array.from(set.array(name) as TypedArray)

describe("four bits, byte for byte", () => {
  test.each(set.manifest.bitsandbytes_4bit.map((c) => [c.name, c] as const))("%s", (_, c) => {
    // Blocks run on from row to row there, as in one long row here.
    const values = floats(c.input), shape = [1, values.length] as const
    const format = { nf4, fp4 }[c.quant_type]({ group: c.blocksize, absmax: c.nested ? "nested" : "f32" })
    const parts = format.encode(values, shape), packed = plain(c.packed)
    // Half a byte that no element has is zero here.
    if (values.length % 2) packed[packed.length - 1]! &= 0xf0
    expect([...parts.codes!.data]).toEqual(packed)
    let stored = parts
    if (!c.nested) expect([...parts.absmax!.data]).toEqual(plain(c.absmax))
    else {
      expect([...parts.absmax!.data]).toEqual(plain(c.absmax_u8))
      // Their mean is summed in f32, in an order that depends on the machine.
      expect(Math.abs(parts.offset!.data[0]! - c.nested_offset)).toBeLessThanOrEqual(c.nested_offset * 2 ** -22)
      stored = { ...parts, map: { data: floats("bnb.dynamic_map_signed8"), shape: [256], dtype: "f32" }, nested: { ...parts.nested!, data: floats(c.nested_absmax) }, offset: { ...parts.offset!, data: Float32Array.of(c.nested_offset) } }
    }
    expect(Array.from(format.decode(stored, shape), (v) => v + 0)).toEqual(plain(c.dequant_f32).map((v) => v + 0))
    // Rows of whole blocks are stored in the same bytes as a matrix.
    if (c.shape[1] % c.blocksize === 0) expect([...format.encode(values, c.shape).codes!.data]).toEqual(plain(c.packed))
  })
})

describe("files of four bits, blocks running on from row to row", () => {
  test.each(set.manifest.bitsandbytes_4bit.map((c) => [c.name, c] as const))("%s", async (_, c) => {
    const u8 = (name: string): StoredTensor => ({ dtype: "U8", shape: [plain(name).length], data: set.array(name) as Uint8Array }), f32 = (data: Float32Array): StoredTensor => ({ dtype: "F32", shape: [data.length], data })
    const packed = u8(c.packed), state = { quant_type: c.quant_type, blocksize: c.blocksize, dtype: "float32", shape: c.shape, ...(c.nested && { nested_blocksize: 256, nested_dtype: "float32", nested_offset: c.nested_offset }) }
    const json = new TextEncoder().encode(JSON.stringify(state)), module: StoredModule = {
      weight: { ...packed, shape: [packed.data.length, 1] }, "weight.quant_map": f32(floats(`bnb.${c.quant_type}_code`)),
      "weight.absmax": c.nested ? u8(c.absmax_u8) : f32(floats(c.absmax)), ...(c.nested && { "weight.nested_absmax": f32(floats(c.nested_absmax)), "weight.nested_quant_map": f32(floats("bnb.dynamic_map_signed8")) }),
      [`weight.quant_state.bitsandbytes__${c.quant_type}`]: { dtype: "U8", shape: [json.length], data: json },
    }
    const codes = readBook("m", module, c.shape), { format, parts } = storeCodes(codes)
    expect(Array.from(await quantizedWeight(format, c.shape, uploadParts(parts)).dense().data(), (v) => v + 0)).toEqual(plain(c.dequant_f32).map((v) => v + 0))
    const { "weight.quant_map": map, ...rest } = writeBook(codes, { dtype: "float32" }), { "weight.quant_map": want, ...others } = module
    expect(rest).toEqual(others)
    // Which zero is negative differs.
    expect(Array.from(map!.data as Float32Array, (v) => v + 0)).toEqual(Array.from(want!.data as Float32Array, (v) => v + 0))
  })
})

test("the tables are bitsandbytes's", () => {
  expect([...nf4().tables!.values!.data]).toEqual(plain("bnb.nf4_code"))
  expect(Array.from(fp4().tables!.values!.data, (v) => v + 0)).toEqual(plain("bnb.fp4_code").map((v) => v + 0))
  plain("bnb.dynamic_map_signed8").forEach((v, i) => expect(Math.abs(dynamicMap()[i]! - v)).toBeLessThanOrEqual(Math.abs(v) * 2 ** -21))
})

test("8 bits by blocks", () => {
  const { codes, absmax } = blockwise(floats("layerA.W").subarray(0, 2048)), { q, absmax: want } = set.manifest.bitsandbytes_blockwise8
  expect([...codes]).toEqual(plain(q))
  expect([...absmax]).toEqual(plain(want))
})

test.each(set.manifest.bitsandbytes_int8.map((c) => [c.name, c] as const))("rows in int8: %s", (_, c) => {
  const half = (v: Float32Array): Float32Array => v.map((x) => f16Value(f16Bits(x)))
  const w = half(floats(`layer${c.layer}.W`)), columns = w.length / (set.array(c.SCB) as Float32Array).length, x = half(floats(`layer${c.layer}.X`).slice(0, c.tokens * columns))
  const weights = int8Rows(w, [w.length / columns, columns]), inputs = int8Rows(x, [c.tokens, columns], { threshold: c.threshold })
  expect([...weights.codes]).toEqual(plain(c.CB))
  expect([...weights.absmax]).toEqual(plain(c.SCB))
  expect([...inputs.absmax]).toEqual(plain(c.SCA))
  expect([...inputs.codes]).toEqual(plain(c.CA))
  expect(inputs.outliers).toEqual(c.outlier_cols === null ? [] : Array.from(set.array(c.outlier_cols) as BigInt64Array, Number))
})

test.each(["e4m3", "e5m2"] as const)("%s: all codes decode as the standard has it, and numbers go back to their codes", (kind) => {
  const want = plain(kind === "e4m3" ? "fp8.e4m3fn_decode" : "fp8.e5m2_decode")
  expect([...smallValues(kind)]).toEqual(want)
  want.forEach((v, code) => { if (Number.isFinite(v) && code !== 128) expect(smallBits(kind, v)).toBe(code) })
})
