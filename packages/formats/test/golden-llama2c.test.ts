import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { ThimbleError } from "@thimble/core"
import { describe, expect, test } from "vitest"
import { openLlama2c, type Llama2cFile } from "../src/index.ts"

const path = new URL("../fixtures/stories260K/stories260K.bin", import.meta.url)
const bytes = new Uint8Array(readFileSync(path))
const config = { dim: 64, hiddenDim: 172, layers: 5, heads: 8, kvHeads: 4, vocabSize: 512, maxLength: 512, shared: true }

/** The same model in the later formats, as `export.py` writes them. */
async function later(file: Llama2cFile, version: 1 | 2, group = 4): Promise<Uint8Array> {
  const head = new Uint8Array(256), view = new DataView(head.buffer)
  view.setUint32(0, 0x616b3432, true)
  view.setInt32(4, version, true)
  Object.values(config).slice(0, 7).forEach((v, i) => view.setInt32(8 + 4 * i, Number(v), true))
  head[36] = 1
  if (version === 2) view.setInt32(37, group, true)
  const names = [...file.entries.keys()], pick = (part: string): string[] => names.filter((n) => n.endsWith(`${part}.weight`) && n.startsWith("layers"))
  const norms = [...pick("attention_norm"), ...pick("ffn_norm"), "norm.weight"]
  const matrices = ["tok_embeddings.weight", ...["wq", "wk", "wv", "wo", "w1", "w2", "w3"].flatMap(pick)]
  const out: Uint8Array[] = [head]
  for (const name of norms) out.push(await file.bytes(name))
  for (const name of matrices) {
    const own = await file.bytes(name)
    if (version === 1) out.push(own)
    else out.push(new Uint8Array(own.length / 4).fill(3), new Uint8Array(new Float32Array(own.length / 4 / group).fill(0.5).buffer))
  }
  return new Uint8Array(Buffer.concat(out))
}

test("stories260K: sizes, names, shapes, values", async () => {
  await using file = await openLlama2c(path)
  expect([file.version, file.config, file.group]).toEqual([0, config, undefined])
  expect(file.entries.size).toBe(2 + 5 * 9)
  expect([...file.entries].slice(0, 2).map(([name, e]) => [name, e.shape, e.begin])).toEqual([["tok_embeddings.weight", [512, 64], 28], ["layers.0.attention_norm.weight", [64], 28 + 4 * 512 * 64]])
  expect(file.entries.get("layers.4.attention.wk.weight")!.shape).toEqual([32, 64])
  expect(file.entries.get("layers.4.feed_forward.w2.weight")!.shape).toEqual([64, 172])
  const norm = await (await file.tensor("norm.weight")).data()
  expect([norm.length, Math.min(...norm), Math.max(...norm), norm[0]]).toEqual([64, Math.fround(0.9720381), Math.fround(4.425094), Math.fround(2.458309)])
})
test("version 1 holds the same tensors in another order: rebuilt from version 0, it is the recorded file", async () => {
  await using file = await openLlama2c(bytes)
  const rebuilt = await later(file, 1)
  expect(createHash("sha256").update(rebuilt).digest("hex")).toBe("9ab1bf3d0c9900ce357fb38b0f42c3252e0ad478400bf7093efa133c8fa60723")
  await using again = await openLlama2c(rebuilt)
  expect([again.version, again.config]).toEqual([1, config])
  expect([...again.entries.keys()].sort()).toEqual([...file.entries.keys()].sort())
  for (const name of file.entries.keys()) expect(await again.bytes(name)).toEqual(await file.bytes(name))
})
test("version 2 has codes and scales", async () => {
  await using file = await openLlama2c(await later(await openLlama2c(bytes), 2))
  expect([file.version, file.group, file.entries.get("layers.0.attention.wq.scales")!.shape]).toEqual([2, 4, [64, 16]])
  expect(new Set(await (await file.tensor("layers.0.feed_forward.w3.weight")).data())).toEqual(new Set([3]))
  expect(new Set(await (await file.tensor("layers.4.feed_forward.w3.scales")).data())).toEqual(new Set([0.5]))
})

describe("what is no such file is refused", () => {
  const word = (at: number, v: number): Uint8Array => {
    const copy = bytes.slice()
    new DataView(copy.buffer).setInt32(at, v, true)
    return copy
  }
  test.each([
    ["too short", new Uint8Array(5), "5 bytes are too few, a header alone takes 28"],
    ["no sizes", word(0, 0), "dim is 0 in the header (byte 0); is it a llama2.c file?"],
    ["heads that do not divide", word(12, 7), "64 features on 7 heads on 4 key heads do not divide"],
    ["cut off", bytes.subarray(0, 500_000), "would end at byte 511516, but the file has 500000; was it cut off?"],
    ["bytes behind", Uint8Array.from([...bytes, 0]), "the last tensor ends at byte 1056540, but the file has 1056541"],
    ["a classifier that is missing", word(20, -512), "tensor 'output.weight' would end at byte 1187612, but the file has 1056540"],
    ["a later version", Uint8Array.from([0x32, 0x34, 0x6b, 0x61, 3, ...new Uint8Array(251)]), "is of version 3 (byte 4); 0, 1 and 2 can be read"],
  ])("%s", async (_, wrong, message) => {
    await expect(openLlama2c(wrong)).rejects.toThrow(message)
    await expect(openLlama2c(wrong)).rejects.toThrow(ThimbleError)
  })
})
