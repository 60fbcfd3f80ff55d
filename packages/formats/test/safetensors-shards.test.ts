import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { tensor, ThimbleError } from "@thimble/core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { encodeSafetensors, openSafetensors, openSafetensorsShards, saveSafetensorsShards, type RawTensor } from "../src/index.ts"

let folder: string
beforeAll(async () => (folder = await mkdtemp(join(tmpdir(), "shards-"))))
afterAll(() => rm(folder, { recursive: true }))

const all = (): Record<string, RawTensor | ReturnType<typeof tensor>> => ({
  b: tensor([[1, 2], [3, 4]]), a: tensor([5, 6, 7], { dtype: "f16" }), ids: { dtype: "I64", shape: [2], bytes: BigInt64Array.of(-1n, 1n << 60n) },
  e: { dtype: "F8_E4M3", shape: [3], bytes: () => Uint8Array.of(1, 2, 3) },
})

test("what does not fit in one file is written to several, and read as one", async () => {
  const files = await saveSafetensorsShards(folder, all(), { shardBytes: 20, metadata: { format: "pt" } })
  expect(files).toEqual(["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors", "model.safetensors.index.json"])
  expect((await readdir(folder)).sort()).toEqual([...files].sort())
  expect(JSON.parse(await readFile(join(folder, files[3]!), "utf8"))).toEqual({ metadata: { total_size: 41 }, weight_map: { b: files[0], a: files[1], ids: files[2], e: files[2] } })
  await using file = await openSafetensorsShards(join(folder, files[3]!))
  expect([file.metadata, [...file.entries.keys()]]).toEqual([{ format: "pt" }, ["b", "a", "ids", "e"]])
  expect([...await (await file.tensor("b")).data()]).toEqual([1, 2, 3, 4])
  expect([...await (await file.tensor("a")).data()]).toEqual([5, 6, 7])
  expect(await file.array("ids")).toEqual(BigInt64Array.of(-1n, 1n << 60n))
  expect(await file.bytes("e")).toEqual(Uint8Array.of(1, 2, 3))
  await expect(file.tensor("c")).rejects.toThrow("no tensor 'c'; it has b, a, ids, e")
})

test("what fits is one file, without an index", async () => {
  const own = await mkdtemp(join(folder, "one-"))
  expect(await saveSafetensorsShards(own, all())).toEqual(["model.safetensors"])
  await using file = await openSafetensors(join(own, "model.safetensors"))
  expect([...file.entries.keys()].sort()).toEqual(["a", "b", "e", "ids"])
})

test("files of an index in memory are wherever the caller says", async () => {
  const pieces: Uint8Array[] = []
  for await (const p of encodeSafetensors({ t: tensor([1, 2]) })) pieces.push(p)
  const one = new Blob(pieces as BlobPart[])
  const index = new TextEncoder().encode(JSON.stringify({ weight_map: { t: "x.safetensors" } }))
  await using file = await openSafetensorsShards(index, { locate: () => one })
  expect([...await (await file.tensor("t")).data()]).toEqual([1, 2])
  await expect(openSafetensorsShards(index)).rejects.toThrow("where is x.safetensors?; an index that is no path or URL needs options.locate")
})

describe("indexes that are not what they should be are refused", () => {
  test.each([
    ["{", "the index is not valid JSON"],
    ["[]", "the index has no object 'weight_map'"],
    ['{"weight_map":{"t":5}}', "weight_map gives 5 for the tensor 't'"],
    ['{"weight_map":{"t":"../../etc/passwd"}}', "weight_map gives '../../etc/passwd' for the tensor 't', which is no name of a file beside it"],
    ['{"weight_map":{"t":"/etc/passwd"}}', "no name of a file beside it"],
    ['{"weight_map":{"nobody":"model-00001-of-00003.safetensors"}}', "the tensor 'nobody' is not in model-00001-of-00003.safetensors; it has b"],
  ])("%s", async (json, message) => {
    const path = join(folder, "bad.index.json")
    await writeFile(path, json)
    await expect(openSafetensorsShards(path)).rejects.toThrow(message)
    await expect(openSafetensorsShards(path)).rejects.toThrow(ThimbleError)
  })
})

test("elements that lie unaligned in the file are copied, not misread", async () => {
  // As some writers leave it: a byte in front of an F32.
  const header = new TextEncoder().encode(JSON.stringify({ odd: { dtype: "U8", shape: [1], data_offsets: [0, 1] }, f: { dtype: "F32", shape: [2], data_offsets: [1, 9] } }))
  const bytes = new Uint8Array(8 + header.length + 9)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true)
  bytes.set(header, 8)
  bytes.set(new Uint8Array(Float32Array.of(1.5, -2).buffer), 8 + header.length + 1)
  await using file = await openSafetensors(bytes)
  expect(await file.array("f")).toEqual(Float32Array.of(1.5, -2))
  expect([...await (await file.tensor("f")).data()]).toEqual([1.5, -2])
})
