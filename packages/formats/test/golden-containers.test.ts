import { quantizedWeight, uploadParts, type Tensor, type Weight } from "@thimble/core"
import { describe, expect, test } from "vitest"
import { contentsOf, goldenFile, jsonOf } from "../../conformance/src/golden.ts"
import { encodeGguf, encodeSafetensors, ggml, ggufTypes, openGguf, openSafetensors, type GgmlName, type GgufTensor, type GgufValue, type RawTensor } from "../src/index.ts"

interface Recorded {
  readonly gguf: {
    readonly file: string; readonly version: number; readonly alignment: number; readonly data_start: number
    readonly kv: readonly (readonly [key: string, type: string, value: unknown])[]
    readonly tensors: readonly { readonly name: string; readonly ggml_type: string; readonly ggml_type_id: number; readonly offset: number; readonly numpy_shape: readonly number[]; readonly nbytes: number; readonly sha256: string }[]
  }
  readonly safetensors: { readonly file: string; readonly header: Readonly<Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>>; readonly header_nbytes: number; readonly hex: Readonly<Record<string, string>> }
}
const fileOf = (name: string): URL => goldenFile("containers", name, new URL("../fixtures", import.meta.url))
const recorded = await jsonOf<Recorded>(fileOf("containers.json"))
const read = (file: string): Promise<Uint8Array> => contentsOf(fileOf(file))

/** A value as the record spells it: 64-bit integers in decimal. */
function plain({ value, ...v }: GgufValue): readonly [type: string, value: unknown] {
  const one = (x: unknown): unknown => (typeof x === "bigint" ? String(x) : x)
  return v.type === "array" ? [`array:${v.of}`, Array.from(value as ArrayLike<unknown>, one)] : [v.type, one(value)]
}
async function joined(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = []
  for await (const piece of pieces) all.push(piece)
  return new Uint8Array(await new Blob(all as Uint8Array<ArrayBuffer>[]).arrayBuffer())
}
const hexOf = (bytes: ArrayBuffer | Uint8Array): string => Array.from(new Uint8Array(bytes as ArrayBuffer), (b) => b.toString(16).padStart(2, "0")).join("")
const sha256 = async (bytes: Uint8Array): Promise<string> => hexOf(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>))

describe("a GGUF file by gguf-py", () => {
  const { gguf } = recorded
  test("metadata of every type", async () => {
    await using file = await openGguf(await read(gguf.file))
    expect([file.version, file.alignment]).toEqual([gguf.version, gguf.alignment])
    expect([...file.metadata].map(([key, value]) => [key, ...plain(value)])).toEqual(gguf.kv)
  })
  test("tensors: types, shapes, places, bytes", async () => {
    await using file = await openGguf(await read(gguf.file))
    expect([...file.entries].map(([name, e]) => [name, e.type, ggufTypes[e.type].id, e.shape, e.begin, e.end - e.begin])).toEqual(
      gguf.tensors.map((t) => [t.name, t.ggml_type, t.ggml_type_id, t.numpy_shape, gguf.data_start + t.offset, t.nbytes]))
    for (const t of gguf.tensors) expect(await sha256(await file.bytes(t.name))).toBe(t.sha256)
  })
  test("written again it has the same bytes", async () => {
    const bytes = await read(gguf.file)
    await using file = await openGguf(bytes)
    const tensors = new Map([...file.entries].map(([name, { type, shape }]): [string, GgufTensor] => [name, { type, shape, bytes: () => file.bytes(name) }]))
    expect(await joined(encodeGguf({ metadata: file.metadata, tensors }))).toEqual(bytes)
  })
  test("its matrices are weights as they are stored, and written as weights they have the same bytes", async () => {
    const bytes = await read(gguf.file)
    await using file = await openGguf(bytes)
    const matrices = gguf.tensors.filter((t) => t.numpy_shape.length === 2)
    expect(new Set(matrices.map((t) => t.ggml_type))).toEqual(new Set(["Q4_K", "Q6_K", "Q8_0", "Q5_1"]))
    for (const t of matrices) {
      const weight = await file.weight(t.name)
      expect([weight.shape, weight.bytes]).toEqual([t.numpy_shape, t.nbytes])
      const read = file.entries.get(t.name)!, format = ggml[t.ggml_type as GgmlName]
      const want = quantizedWeight(format, weight.shape, uploadParts(format.split(bytes.subarray(read.begin, read.end), weight.shape)))
      expect(await weight.dense().data()).toEqual(await want.dense().data())
    }
    const tensors = new Map<string, Weight | Tensor>()
    for (const [name, { shape }] of file.entries) tensors.set(name, shape.length === 2 ? await file.weight(name) : await file.tensor(name))
    expect(await joined(encodeGguf({ metadata: file.metadata, tensors }))).toEqual(bytes)
  })
})

describe("a safetensors file", () => {
  const { file: path, header: { __metadata__: metadata, ...header }, hex, header_nbytes: headerBytes } = recorded.safetensors
  test("types, shapes, places, bytes, metadata", async () => {
    await using file = await openSafetensors(await read(path))
    expect(file.metadata).toEqual(metadata)
    expect(Object.fromEntries([...file.entries].map(([name, e]) => [name, { dtype: e.dtype, shape: e.shape, data_offsets: [e.begin - 8 - headerBytes, e.end - 8 - headerBytes] }]))).toEqual(header)
    for (const [name, want] of Object.entries(hex)) expect(hexOf(await file.bytes(name))).toBe(want)
  })
  test("elements of every type, 64-bit integers as bigints", async () => {
    await using file = await openSafetensors(await read(path))
    expect(await file.array("d.i64")).toEqual(BigInt64Array.of(1n << 40n, -5n))
    expect(await file.array("i.i32")).toEqual(Int32Array.of(-1, 2 ** 31 - 1))
    expect(await file.array("h.u8")).toEqual(Uint8Array.of(0, 1, 2, 3, 4))
    expect([...await (await file.tensor("f.scalar")).data()]).toEqual([2.5])
  })
  test("written again it holds the same", async () => {
    await using file = await openSafetensors(await read(path))
    const tensors = Object.fromEntries([...file.entries].map(([name, { dtype, shape }]): [string, RawTensor] => [name, { dtype, shape, bytes: () => file.bytes(name) }]))
    await using again = await openSafetensors(await joined(encodeSafetensors(tensors, { metadata: file.metadata })))
    for (const name of file.entries.keys()) expect(await again.bytes(name)).toEqual(await file.bytes(name))
  })
})
