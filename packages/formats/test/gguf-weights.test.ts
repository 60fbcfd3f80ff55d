import { denseWeight, quantizeWeight, tensor, type Format, type Weight } from "@thimble/core"
import { expect, test } from "vitest"
import { encodeGguf, ggml, ggufFormat, ggufTypes, openGguf, type GgmlName, type GgufContents, type GgufDType, type GgufFile } from "../src/index.ts"
import { joined } from "./gguf-arbitrary.ts"

test("formats and GGUF files agree on the size of every type's blocks", () => {
  for (const [name, { block }] of Object.entries(ggml)) expect([name, block]).toEqual([name, { size: ggufTypes[name as GgufDType].size, bytes: ggufTypes[name as GgufDType].bytes }])
  // What files may hold without a format: integers, f64, and the types of activations.
  expect(Object.keys(ggufTypes).filter((t) => !(t in ggml)).sort()).toEqual(["F64", "I16", "I32", "I64", "I8", "Q8_1", "Q8_K"])
})

const shape = [3, 256] as const, values = Float32Array.from({ length: 768 }, (_, i) => Math.sin(i))
const written = (tensors: Record<string, Weight | ReturnType<typeof tensor>>): Promise<Uint8Array> => joined(encodeGguf({ metadata: new Map(), tensors: new Map(Object.entries(tensors)) as GgufContents["tensors"] }))
const opened = async (tensors: Parameters<typeof written>[0]): Promise<GgufFile> => openGguf(await written(tensors))

test.each(Object.keys(ggml).filter((name) => ggml[name as GgmlName].encodes) as GgmlName[])("a weight of %s goes into a file and comes back: its bytes, its values, its type", async (name) => {
  const weight = quantizeWeight(ggml[name], values, shape)
  await using file = await opened({ w: weight })
  expect(file.entries.get("w")).toMatchObject({ type: name, shape })
  const bytes = ggml[name].join(ggml[name].encode(values, shape), shape)
  expect(await file.bytes("w")).toEqual(bytes)
  const back = await file.weight("w")
  expect([back.shape, back.bytes]).toEqual([shape, bytes.length])
  expect(await back.dense().data()).toEqual(await weight.dense().data())
  expect(await written({ w: back })).toEqual(await written({ w: weight }))
})
test("blocks stay packed, plain floats are dense", async () => {
  await using file = await opened({ packed: quantizeWeight(ggml.Q4_K, values, shape), half: tensor(values, { shape: [...shape], dtype: "f16" }) })
  expect(Object.keys((await file.weight("packed")).parts())).toEqual(["d", "dmin", "scales", "qs"])
  expect((await file.weight("packed")).storage).toBe(ggufFormat("Q4_K"))
  expect((await file.weight("half")).storage).toBe("f16")
  expect(Object.values((await file.weight("half")).parts()).map((t) => t.dtype)).toEqual(["f16"])
})
test("what products do with activations is asked for", async () => {
  await using file = await opened({ w: quantizeWeight(ggml.Q8_0, values, shape) })
  const x = tensor(values, { shape: [3, 256] }), exact = quantizeWeight(ggml.Q8_0, values, shape)
  const [f32, int8] = await Promise.all([file.weight("w"), file.weight("w", { activations: "int8" })])
  expect(await f32.apply(x).data()).toEqual(await exact.apply(x).data())
  expect(await int8.apply(x).data()).toEqual(await quantizeWeight(ggml.Q8_0, values, shape, { activations: "int8" }).apply(x).data())
  expect(await int8.apply(x).data()).not.toEqual(await f32.apply(x).data())
})
test("what is no matrix, or in no format, is refused both ways", async () => {
  await using file = await opened({ norm: tensor([1, 2]), ids: tensor([[1, 2]], { dtype: "i32" }) })
  await expect(file.weight("norm")).rejects.toThrow("bytes: tensor 'norm' is F32[2], but a weight is [rows, columns]")
  await expect(file.weight("ids")).rejects.toThrow("bytes: tensor 'ids' is I32, which no weight is stored in")
  const dense = denseWeight(tensor(values, { shape: [...shape] }))
  const own: Format = { ...ggml.Q8_0, name: "mine" }
  await expect(written({ w: quantizeWeight(own, values, shape) })).rejects.toThrow("no type of GGUF files is the format mine; quantize to one of ggml's")
  const { storage: _, ...made } = dense
  await expect(written({ w: { ...made, form: "made" } as Weight })).rejects.toThrow("tensor 'w': a weight 'made' is made of others; write its dense() matrix, or quantize that")
})
