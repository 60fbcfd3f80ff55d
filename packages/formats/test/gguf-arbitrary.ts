import fc from "fast-check"
import { ggufTypes, type GgufArray, type GgufDType, type GgufTensor, type GgufValue } from "../src/index.ts"

export async function joined(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = []
  for await (const piece of pieces) all.push(piece)
  return new Uint8Array(Buffer.concat(all))
}

/** Bytes of so many blocks. */
const sizeOfType = (type: GgufDType, blocks: number): number => ggufTypes[type].bytes * blocks

const text = fc.string({ unit: "grapheme", maxLength: 12 })
const ints = { u8: [0, 255], i8: [-128, 127], u16: [0, 65535], i16: [-32768, 32767], u32: [0, 2 ** 32 - 1], i32: [-(2 ** 31), 2 ** 31 - 1] } as const
const numbers = {
  ...Object.fromEntries(Object.entries(ints).map(([type, [min, max]]) => [type, fc.integer({ min, max })])) as Record<keyof typeof ints, fc.Arbitrary<number>>,
  f32: fc.float(), f64: fc.double(), u64: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), i64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
}
const arrays = { u8: Uint8Array, i8: Int8Array, u16: Uint16Array, i16: Int16Array, u32: Uint32Array, i32: Int32Array, f32: Float32Array, f64: Float64Array, u64: BigUint64Array, i64: BigInt64Array }

const flat: fc.Arbitrary<GgufArray> = fc.oneof(
  ...Object.entries(numbers).map(([of, one]) => fc.array(one as fc.Arbitrary<number>, { maxLength: 5 }).map((v) => ({ type: "array", of, value: (arrays[of as "u8"]).from(v) }) as GgufArray)),
  fc.array(fc.boolean(), { maxLength: 5 }).map((value) => ({ type: "array" as const, of: "bool" as const, value })),
  fc.array(text, { maxLength: 5 }).map((value) => ({ type: "array" as const, of: "string" as const, value })))
const nested: fc.Arbitrary<GgufArray> = fc.array(flat, { maxLength: 3 }).map((value) => ({ type: "array", of: "array", value }))

export const value: fc.Arbitrary<GgufValue> = fc.oneof(
  ...Object.entries(numbers).map(([type, one]) => (one as fc.Arbitrary<number>).map((v) => ({ type, value: v }) as GgufValue)),
  fc.boolean().map((v): GgufValue => ({ type: "bool", value: v })), text.map((v): GgufValue => ({ type: "string", value: v })), flat, nested)

export type Raw = GgufTensor & { readonly bytes: Uint8Array }
const tensor: fc.Arbitrary<Raw> = fc.tuple(fc.constantFrom(...(Object.keys(ggufTypes) as GgufDType[])), fc.array(fc.nat(3), { maxLength: 3 }), fc.nat(2)).chain(([type, outer, blocks]) => {
  const length = sizeOfType(type, outer.reduce((a, b) => a * b, blocks))
  return fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => ({ type, shape: [...outer, blocks * ggufTypes[type].size], bytes }))
})

/** What a GGUF file may hold, at any alignment. */
export const contents: fc.Arbitrary<{ metadata: ReadonlyMap<string, GgufValue>; tensors: ReadonlyMap<string, Raw> }> = fc.record({
  alignment: fc.option(fc.constantFrom(1, 8, 32, 64, 4096)),
  values: fc.array(fc.tuple(text.filter((s) => s !== "" && s !== "general.alignment"), value), { maxLength: 6 }),
  tensors: fc.array(fc.tuple(text.filter((s) => Buffer.byteLength(s) < 64), tensor), { maxLength: 4 }),
}).map(({ alignment, values, tensors }) => ({
  metadata: new Map([...values, ...(alignment === null ? [] : [["general.alignment", { type: "u32", value: alignment }] as [string, GgufValue]])]),
  tensors: new Map(tensors),
}))
