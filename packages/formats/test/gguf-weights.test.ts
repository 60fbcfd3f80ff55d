import { denseWeight, memory, quantizeWeight, tensor, type Format, type Weight } from "@thimble/core"
import { expect, test } from "vitest"
import { encodeGguf, ggml, ggufFormat, ggufTypes, openGguf, type GgmlName, type GgufContents, type GgufDType, type GgufFile, type Source } from "../src/index.ts"
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

/** More than one piece of a file, and a last one that is no multiple of four rows. */
const many = [3001, 256] as const
const large = Float32Array.from({ length: many[0] * many[1] }, (_, i) => Math.sin(i) * (1 + (i % 7)))
/** The bytes as a file has them: read into the memory that is offered, which the next read uses again. */
function fileLike(bytes: Uint8Array, asked: number[] = []): Source {
  const close = (): Promise<void> => Promise.resolve()
  return {
    name: "weights.gguf", bytes: bytes.length, close, [Symbol.asyncDispose]: close,
    read(begin, end, into = new Uint8Array(end - begin)) {
      asked.push(end - begin)
      into.set(bytes.subarray(begin, end))
      return Promise.resolve(into.subarray(0, end - begin))
    },
  }
}
test("a matrix comes in pieces of bounded size, several at the same time, each as it was written", async () => {
  const bytes = await written({ packed: quantizeWeight(ggml.Q4_0, large, many), plain: tensor(large, { shape: [...many] }) }), asked: number[] = []
  await using file = await openGguf(fileLike(bytes, asked))
  asked.length = 0
  const [packed, again, plain] = await Promise.all([file.weight("packed"), file.weight("packed"), file.tensor("plain")])
  expect(Math.max(...asked)).toBeLessThanOrEqual(2 ** 19)
  for (const [name, { data }] of Object.entries(ggml.Q4_0.encode(large, many)))
    for (const weight of [packed, again]) expect(Buffer.from((await weight.parts()[name]!.raw()).buffer)).toEqual(Buffer.from(data.buffer))
  expect(await plain.data()).toEqual(large)
})
test.each(["Q8_0", "F16"] as const)("rows of %s come in the order that is asked for", async (type) => {
  const bytes = await written({ w: quantizeWeight(ggml[type], large, many) }), [rows, columns] = many
  await using file = await openGguf(fileLike(bytes))
  const order = Int32Array.from({ length: rows }, (_, i) => (i * 1009) % rows)
  const [plain, ordered] = [await (await file.weight("w")).dense().data(), await (await file.weight("w", { order })).dense().data()]
  for (let row = 0; row < rows; row += 37) expect(ordered.subarray(row * columns, (row + 1) * columns)).toEqual(plain.subarray(order[row]! * columns, (order[row]! + 1) * columns))
  await expect(file.weight("w", { order: new Int32Array(2) })).rejects.toThrow("an order of 2 rows, but tensor 'w' has 3001")
})
test.each([["infinite", 0x7c00], ["no number", 0xfe00]] as const)("a scale that is %s is refused with its block's place, and leaves no memory behind", async (_, bits) => {
  const bytes = await written({ w: quantizeWeight(ggml.Q4_0, large, many) })
  const { begin } = (await openGguf(bytes)).entries.get("w")!, block = 20_000, at = begin + block * 18
  new DataView(bytes.buffer, bytes.byteOffset).setUint16(at, bits, true)
  await using file = await openGguf(fileLike(bytes))
  const before = memory().bytes
  await expect(file.weight("w")).rejects.toThrow(`weights.gguf: tensor 'w' has a scale that is no finite number, in block ${block} of Q4_0 (byte ${at})`)
  expect(memory().bytes).toBe(before)
  // The bytes are there for whoever wants to look at them.
  expect((await file.bytes("w")).length).toBe(3001 * 8 * 18)
})
