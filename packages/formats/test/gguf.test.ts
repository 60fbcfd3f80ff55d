import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { tensor, ThimbleError } from "@thimble/core"
import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { encodeGguf, openGguf, saveGguf, type GgufContents, type GgufTensor, type GgufValue } from "../src/index.ts"
import { contents, joined } from "./gguf-arbitrary.ts"

let folder: string
beforeAll(async () => (folder = await mkdtemp(join(tmpdir(), "gguf-"))))
afterAll(() => rm(folder, { recursive: true }))

const metadata = (values: Record<string, GgufValue>): ReadonlyMap<string, GgufValue> => new Map(Object.entries(values))
const refused = (c: Partial<GgufContents>): Promise<Uint8Array> => joined(encodeGguf({ metadata: new Map(), tensors: new Map(), ...c }))

describe("laws", () => {
  test("what was written is read back: keys, values and their types, names, types, shapes, bytes, in order", () =>
    fc.assert(fc.asyncProperty(contents, async (all) => {
      await using file = await openGguf(await joined(encodeGguf(all)))
      expect([...file.metadata]).toEqual([...all.metadata])
      expect([...file.entries].map(([name, { type, shape }]) => [name, type, shape])).toEqual([...all.tensors].map(([name, { type, shape }]) => [name, type, shape]))
      for (const [name, { bytes }] of all.tensors) expect(await file.bytes(name)).toEqual(bytes)
    }), { numRuns: 60 }))
  test("read and written again a file has the same bytes, and tensors begin at multiples of the alignment", () =>
    fc.assert(fc.asyncProperty(contents, async (all) => {
      const bytes = await joined(encodeGguf(all))
      await using file = await openGguf(bytes)
      for (const { begin } of file.entries.values()) expect(begin % file.alignment).toBe(0)
      const tensors = new Map([...file.entries].map(([name, { type, shape }]): [string, GgufTensor] => [name, { type, shape, bytes: () => file.bytes(name) }]))
      expect(await joined(encodeGguf({ metadata: file.metadata, tensors }))).toEqual(bytes)
    }), { numRuns: 60 }))
})

test("tensors of plain types come onto the device; blocks stay bytes", async () => {
  const plain = { f32: [1.5, -2], f16: [0.5, 3], bf16: [1, -4], i8: [-1, 2], i16: [300, -3], i32: [70000, -70000], f64: [0.1, -1] } as const
  const path = join(folder, "plain.gguf")
  await saveGguf(path, {
    metadata: metadata({ "general.architecture": { type: "string", value: "none" } }),
    tensors: new Map<string, GgufTensor | ReturnType<typeof tensor>>([...Object.entries(plain).map(([dtype, values]) => [dtype, tensor([[...values]], { dtype: dtype as keyof typeof plain })] as const), ["blocks", { type: "Q8_0", shape: [1, 32], bytes: new Uint8Array(34) }]]),
  })
  await using file = await openGguf(path)
  for (const [name, values] of Object.entries(plain)) {
    const t = await file.tensor(name)
    expect([t.dtype, t.shape, [...await t.data()]]).toEqual([name, [1, 2], [...values]])
  }
  await expect(file.tensor("blocks")).rejects.toThrow(`${path}: tensor 'blocks' is Q8_0, which no tensor holds; read it as a weight(), or its bytes()`)
  await expect(file.bytes("block")).rejects.toThrow("no tensor 'block'; it has blocks")
})

test("a long header is read to its end, and no further", async () => {
  const words = Array.from({ length: 30_000 }, (_, i) => `token ${i}`)
  const bytes = await joined(encodeGguf({ metadata: metadata({ words: { type: "array", of: "string", value: words } }), tensors: new Map([["t", { type: "F32", shape: [1000], bytes: new Uint8Array(4000) }]]) }))
  let most = 0
  const read = (begin: number, end: number): Promise<Uint8Array> => {
    most = Math.max(most, end - begin)
    return Promise.resolve(bytes.subarray(begin, end))
  }
  const close = (): Promise<void> => Promise.resolve()
  await using file = await openGguf({ name: "own", bytes: bytes.length, read, close, [Symbol.asyncDispose]: close })
  expect(file.metadata.get("words")!.value).toEqual(words)
  expect((await file.bytes("t")).length).toBe(4000)
})

describe("what cannot be written is refused", () => {
  test.each([
    [{ metadata: metadata({ x: { type: "u8", value: 256 } }) }, "a metadata value of type u8 is 256; whole numbers from 0 to 255"],
    [{ metadata: metadata({ x: { type: "i64", value: 2n ** 63n } }) }, "a metadata value of type i64 is 9223372036854775808"],
    [{ metadata: metadata({ "": { type: "u8", value: 1 } }) }, "a metadata value has an empty key"],
    [{ metadata: metadata({ "general.alignment": { type: "u32", value: 48 } }) }, "'general.alignment' must be a u32 and a power of two, got u32 48"],
    [{ metadata: metadata({ x: { type: "string", value: "\ud800" } }) }, "is not valid Unicode"],
    [{ tensors: new Map([["a".repeat(64), { type: "F32", shape: [], bytes: new Uint8Array(4) }]]) as GgufContents["tensors"] }, "takes more than 63 bytes"],
    [{ tensors: new Map([["t", { type: "Q4_K", shape: [2, 128], bytes: new Uint8Array(144) }]]) as GgufContents["tensors"] }, "tensor 't': Q4_K[2, 128] has rows that are no whole blocks of 256"],
    [{ tensors: new Map([["t", { type: "F32", shape: [1, 1, 1, 1, 1], bytes: new Uint8Array(4) }]]) as GgufContents["tensors"] }, "tensor 't' has 5 axes, more than 4"],
    [{ tensors: new Map([["t", { type: "F32", shape: [2], bytes: new Uint8Array(4) }]]) as GgufContents["tensors"] }, "tensor 't': F32[2] takes 8 bytes, got 4"],
  ])("%o", async (wrong, message) => {
    await expect(refused(wrong)).rejects.toThrow(message)
    await expect(refused(wrong)).rejects.toThrow(ThimbleError)
  })
  test("and leaves no file behind", async () => {
    const path = join(folder, "none.gguf")
    await expect(saveGguf(path, { metadata: new Map(), tensors: new Map([["t", { type: "F32", shape: [2], bytes: new Uint8Array(4) }]]) })).rejects.toThrow("got 4")
    await expect(readFile(`${path}.partial`)).rejects.toThrow("ENOENT")
  })
})

describe("what is no GGUF file is refused, with its place", () => {
  const word = (n: number): number[] => [n & 255, (n >> 8) & 255, (n >> 16) & 255, (n >> 24) & 255]
  const long = (n: number): number[] => [...word(n), 0, 0, 0, 0]
  const text = (s: string): number[] => [...long(Buffer.byteLength(s)), ...Buffer.from(s)]
  const head = (tensors: number[], values: number[]): number[] => [...Buffer.from("GGUF"), ...word(3), ...tensors, ...values]
  const info = (name: string, shape: number[], type: number, offset: number): number[] => [...text(name), ...word(shape.length), ...shape.flatMap(long), ...word(type), ...long(offset)]
  test.each([
    ["too short", [1, 2, 3], "bytes: the file ends within the magic number (byte 0); is it whole?"],
    ["another format", [...Buffer.from("PK\x03\x04"), ...new Array<number>(20).fill(0)], "bytes: does not begin with 'GGUF' (byte 0); is it a GGUF file?"],
    ["version 1", [...Buffer.from("GGUF"), ...word(1), ...long(0), ...long(0)], "is of version 1; 2 and 3 can be read (byte 4)"],
    ["big-endian", [...Buffer.from("GGUF"), 0, 0, 0, 3, ...long(0), ...long(0)], "is of version 3 in big-endian order (byte 4); convert it to little-endian"],
    ["more tensors than there is room for", head([...word(-1), ...word(-1)], long(0)), "its tensors' descriptions would take at least"],
    ["more values than there is room for", head(long(0), long(1000)), "its metadata would take at least 13000 bytes, but the file has 0 more (byte 24)"],
    ["an array larger than the file", [...head(long(0), long(1)), ...text("a"), ...word(9), ...word(6), ...word(-1), ...word(1)], "'a' would take at least 34359738364 bytes"],
    ["a string larger than the file", [...head(long(0), long(1)), ...text("a"), ...word(8), ...long(1 << 30)], "'a' would take 1073741824 bytes, but the file has 0 more (byte 45)"],
    ["an unknown value type", [...head(long(0), long(1)), ...text("a"), ...word(13), ...long(0)], "'a' has the unknown type 13 (byte 33)"],
    ["an empty key", [...head(long(0), long(1)), ...text(""), ...word(0), 1, 0, 0, 0], "metadata value 0 has an empty key (byte 24)"],
    ["a key twice", [...head(long(0), long(2)), ...text("a"), ...word(0), 1, ...text("a"), ...word(0), 2], "the key 'a' stands twice (byte 38)"],
    ["a bool of 2", [...head(long(0), long(1)), ...text("a"), ...word(7), 2], "'a' is 2, but a bool is 0 or 1 (byte 37)"],
    ["text that is no UTF-8", [...head(long(0), long(1)), ...text("a"), ...word(8), ...long(1), 255], "'a' is not valid UTF-8 (byte 45)"],
    ["arrays without end", [...head(long(0), long(1)), ...text("a"), ...word(9), ...Array.from({ length: 20 }, () => [...word(9), ...long(1)]).flat()], "arrays in arrays more than 16 deep"],
    ["an unknown tensor type", [...head(long(1), long(0)), ...info("t", [1], 4, 0)], "tensor 't' has the unknown type 4 (byte 24)"],
    ["no whole blocks", [...head(long(1), long(0)), ...info("t", [31], 2, 0)], "tensor 't' is Q4_0[31], whose rows are no whole blocks of 32, or too large (byte 24)"],
    ["five axes", [...head(long(1), long(0)), ...info("t", [1, 1, 1, 1, 1], 0, 0)], "tensor 't' has 5 axes, more than 4 (byte 24)"],
    ["an offset that leaves a gap", [...head(long(1), long(0)), ...info("t", [1], 0, 32), ...new Array<number>(100).fill(0)], "tensor 't' has the offset 32, but the one before it ends at 0: 0 was to be expected (byte 24)"],
    ["a tensor beyond the end", [...head(long(1), long(0)), ...info("t", [1 << 30], 0, 0)], "tensor 't' ends at byte 4294967360, but the file has 57 (byte 24); was the download cut off?"],
    ["a name twice", [...head(long(2), long(0)), ...info("t", [1], 0, 0), ...info("t", [1], 0, 32), ...new Array<number>(100).fill(0)], "tensor 't' stands twice (byte 57)"],
  ])("%s", async (_, bytes, message) => {
    await expect(openGguf(Uint8Array.from(bytes))).rejects.toThrow(message)
    await expect(openGguf(Uint8Array.from(bytes))).rejects.toThrow(ThimbleError)
  })
})

test("a tensor's bytes are asked for when it is its turn, so that one at a time is in memory", async () => {
  const made: string[] = []
  const lazy = (name: string): [string, GgufTensor] => [name, { type: "F32", shape: [8], bytes: () => { made.push(name); return new Float32Array(8) } }]
  const pieces = encodeGguf({ metadata: new Map(), tensors: new Map([lazy("a"), lazy("b")]) })
  await pieces.next()
  expect(made).toEqual([])
  await pieces.next()
  expect(made).toEqual(["a"])
  await pieces.next()
  expect(made).toEqual(["a", "b"])
})

test("a character that two strings share is in neither, though they are decoded together", async () => {
  const bytes = await joined(encodeGguf({ metadata: metadata({ words: { type: "array", of: "string", value: ["a", "bc"] } }), tensors: new Map() }))
  const at = bytes.findIndex((_, i) => bytes[i] === 0x61 && bytes[i + 1] === 2 && bytes[i + 9] === 0x62)
  bytes[at] = 0xc3
  bytes[at + 9] = 0xa9
  await expect(openGguf(bytes)).rejects.toThrow("element 1 of 'words' is not valid UTF-8")
  bytes[at + 9] = 0x62
  await expect(openGguf(bytes)).rejects.toThrow("element 0 of 'words' is not valid UTF-8")
})
