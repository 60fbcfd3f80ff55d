import { mkdtemp, readdir, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { memory, tensor, ThimbleError, zeros } from "@thimble/core"
import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { dtypeNames, encodeSafetensors, openSafetensors, saveSafetensors, type FileDType, type RawTensor, type SafetensorsOptions } from "../src/index.ts"
import { bitsOf } from "../src/safetensors-header.ts"

const fixture = new URL("../fixtures/golden/containers/sample.safetensors", import.meta.url)

/** With the bytes at hand. */
type Raw = RawTensor & { readonly bytes: Uint8Array }

async function encoded(tensors: Parameters<typeof encodeSafetensors>[0], options?: SafetensorsOptions): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  for await (const chunk of encodeSafetensors(tensors, options)) chunks.push(chunk)
  return new Uint8Array(Buffer.concat(chunks))
}
async function contents(bytes: Uint8Array): Promise<{ metadata: Readonly<Record<string, string>>; tensors: Record<string, Raw> }> {
  await using file = await openSafetensors(bytes)
  const tensors: Record<string, Raw> = {}
  for (const [name, { dtype, shape }] of file.entries) Object.defineProperty(tensors, name, { enumerable: true, value: { dtype, shape, bytes: await file.bytes(name) } })
  return { metadata: file.metadata, tensors }
}

const rawTensor: fc.Arbitrary<Raw> = fc.record({ dtype: fc.constantFrom(...dtypeNames), shape: fc.array(fc.nat(4), { maxLength: 3 }) })
  .map(({ dtype, shape }) => ({ dtype, shape: (bitsOf(dtype) * shape.reduce((a, b) => a * b, 1)) % 8 === 0 ? shape : [...shape, 4] }))
  .chain(({ dtype, shape }) => {
    const length = (bitsOf(dtype) * shape.reduce((a, b) => a * b, 1)) / 8
    return fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => ({ dtype, shape, bytes }))
  })
const name = fc.string({ unit: "grapheme", maxLength: 12 }).filter((s) => s !== "__metadata__")
const tensors = fc.dictionary(name, rawTensor, { maxKeys: 6 })
const metadata = fc.option(fc.dictionary(name, fc.string({ unit: "grapheme" }), { noNullPrototype: true }), { nil: undefined })

describe("laws", () => {
  test("what was written is read back: names, types, shapes, bytes, metadata", async () => {
    await fc.assert(fc.asyncProperty(tensors, metadata, async (all, meta) => {
      const back = await contents(await encoded(all, meta && { metadata: meta }))
      expect(back.metadata).toEqual(meta ?? {})
      expect(Object.keys(back.tensors).sort()).toEqual(Object.keys(all).sort())
      for (const [key, t] of Object.entries(all)) {
        expect(back.tensors[key]!.dtype).toBe(t.dtype)
        expect(back.tensors[key]!.shape).toEqual(t.shape)
        expect([...back.tensors[key]!.bytes]).toEqual([...t.bytes])
      }
    }))
  })

  test("the data begins at a multiple of 8, every tensor at a multiple of its element, in any order of insertion", async () => {
    await fc.assert(fc.asyncProperty(tensors, async (all) => {
      const bytes = await encoded(all)
      await using file = await openSafetensors(bytes)
      const dataStart = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true))
      expect(dataStart % 8).toBe(0)
      for (const { dtype, begin } of file.entries.values()) if (bitsOf(dtype) >= 8) expect(begin % (bitsOf(dtype) / 8)).toBe(0)
      expect(await encoded(Object.fromEntries(Object.entries(all).reverse()))).toEqual(bytes)
    }))
  })

  test("a file with any byte changed, cut off or extended is read or refused with a ThimbleError, never half-read", async () => {
    const good = new Uint8Array(await readFile(fixture))
    const change = fc.oneof(
      fc.tuple(fc.nat(good.length - 1), fc.nat(255)).map(([at, value]) => good.with(at, value)),
      fc.nat(good.length - 1).map((n) => good.slice(0, n)),
      fc.nat(9).map((n) => new Uint8Array([...good, ...new Uint8Array(n + 1)])),
    )
    await fc.assert(fc.asyncProperty(change, async (bytes) => {
      const held = memory().bytes
      try {
        const { tensors: all } = await contents(bytes)
        for (const { shape, dtype, bytes: b } of Object.values(all)) expect(8 * b.length).toBe(shape.reduce((x, y) => x * y, bitsOf(dtype)))
      } catch (e) {
        expect(e).toBeInstanceOf(ThimbleError)
        expect((e as ThimbleError).code).toBe("format")
        expect(memory().bytes).toBe(held)
      }
    }), { numRuns: 500 })
  })
})

describe("the sample file", () => {
  test("is read as recorded, also as a Blob and from unaligned memory", async () => {
    const bytes = new Uint8Array(await readFile(fixture))
    const shifted = new Uint8Array(bytes.length + 1)
    shifted.set(bytes, 1)
    for (const from of [fixture, bytes, new Blob([bytes]), shifted.subarray(1)]) {
      await using file = await openSafetensors(from)
      expect(file.metadata).toEqual({ format: "pt" })
      expect([...file.entries.keys()]).toEqual(["d.i64", "a.f32", "e.empty", "f.scalar", "i.i32", "b.f16", "c.bf16", "g.bool", "h.u8"])
      const hex = async (key: string): Promise<string> => Buffer.from(await file.bytes(key)).toString("hex")
      expect(await hex("a.f32")).toBe("81c4ef3e4077423f117af23e569729bf22aba83e1a1322c0")
      expect(await hex("d.i64")).toBe("0000000000010000fbffffffffffffff")
      const f16 = await file.tensor("b.f16")
      expect([f16.dtype, f16.shape]).toEqual(["f16", [4]])
      expect([...(await f16.raw())]).toEqual([0x3bad, 0xa666, 0x3492, 0x3cbb])
      expect(await (await file.tensor("f.scalar")).item()).toBe(2.5)
      expect(await (await file.tensor("g.bool")).tolist()).toEqual([true, false, true])
      expect((await file.tensor("e.empty")).shape).toEqual([0, 3])
      await expect(file.tensor("d.i64")).rejects.toThrow(/'d.i64' is I64, which no tensor holds; read its array\(\)/)
      await expect(file.tensor("b.f32")).rejects.toThrow(/no tensor 'b.f32'; it has a.f32/)
    }
  })

  test("is written again byte by byte", async () => {
    const bytes = new Uint8Array(await readFile(fixture))
    const { tensors: all, metadata: meta } = await contents(bytes)
    expect(await encoded(all, { metadata: meta })).toEqual(bytes)
  })
})

/** A file with this header, padded or not, and data of zeros. */
function fileOf(header: string | Uint8Array, data: number): Uint8Array {
  const json = typeof header === "string" ? new TextEncoder().encode(header) : header
  const out = new Uint8Array(8 + json.length + data)
  new DataView(out.buffer).setBigUint64(0, BigInt(json.length), true)
  out.set(json, 8)
  return out
}
const entry = (dtype: FileDType | string, shape: unknown, from: unknown, to: unknown): string => JSON.stringify({ dtype, shape, data_offsets: [from, to] })

describe("malformed files are refused, naming the file, the tensor and the place", () => {
  const huge = new Uint8Array(16)
  new DataView(huge.buffer).setBigUint64(0, 2n ** 63n, true)
  const long = new Uint8Array(16)
  new DataView(long.buffer).setBigUint64(0, 9n, true)
  const cases: [string, Uint8Array, RegExp][] = [
    ["nothing", new Uint8Array(), /bytes: 0 bytes are too few/],
    ["a huge header", huge, /9223372036854775808 bytes, more than 100000000/],
    ["a header beyond the end", long, /the header ends at byte 17, but the file has 16/],
    ["no header", fileOf("", 0), /begin with '\{', got nothing/],
    ["space before the header", fileOf(" {}", 0), /begin with '\{', got byte 32/],
    ["broken JSON", fileOf('{"a":', 0), /not a JSON object/],
    ["text that is not UTF-8", fileOf(new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d]), 0), /not valid UTF-8/],
    ["a repeated name", fileOf(`{"a":${entry("U8", [1], 0, 1)},"\\u0061":${entry("U8", [1], 1, 2)}}`, 2), /names 'a' twice/],
    ["metadata of numbers", fileOf('{"__metadata__":{"a":1}}', 0), /__metadata__ must hold strings/],
    ["an unknown type", fileOf(`{"a":${entry("Q4", [1], 0, 1)}}`, 1), /tensor 'a': unknown dtype "Q4"/],
    ["a type every object has", fileOf(`{"a":${entry("constructor", [1], 0, 1)}}`, 1), /unknown dtype "constructor"/],
    ["a negative size", fileOf(`{"a":${entry("U8", [-1], 0, 1)}}`, 1), /tensor 'a': the shape must be whole numbers, got \[-1\]/],
    ["sizes whose product overflows", fileOf(`{"a":${entry("F32", [2 ** 40, 2 ** 40], 0, 1)}}`, 1), /F32\[1099511627776, 1099511627776\] has no whole number of bytes/],
    ["offsets that do not fit the shape", fileOf(`{"a":${entry("F32", [2], 0, 4)}}`, 4), /tensor 'a': F32\[2\] takes 8 bytes, but data_offsets are 0 … 4/],
    ["half a byte", fileOf(`{"a":${entry("F4", [3], 0, 2)}}`, 2), /no whole number of bytes/],
    ["offsets that are no numbers", fileOf(`{"a":${entry("U8", [1], "0", 1)}}`, 1), /data_offsets must be two whole numbers/],
    ["an overlap", fileOf(`{"a":${entry("U8", [2], 0, 2)},"b":${entry("U8", [2], 1, 3)}}`, 3), /tensor 'b' begins at byte \d+, inside another tensor/],
    ["a hole", fileOf(`{"a":${entry("U8", [1], 1, 2)}}`, 2), /tensor 'a' begins at byte \d+, after a hole/],
    ["a tensor beyond the end", fileOf(`{"a":${entry("U8", [5], 0, 5)}}`, 4), /tensor 'a' ends at byte \d+, but the file has \d+; was the download cut off/],
    ["bytes after the last tensor", fileOf(`{"a":${entry("U8", [1], 0, 1)}}`, 2), /the last tensor ends at byte \d+, but the file has \d+/],
  ]
  test.each(cases)("%s", async (_what, bytes, message) => {
    await expect(openSafetensors(bytes)).rejects.toThrow(message)
    await expect(openSafetensors(bytes)).rejects.toMatchObject({ name: "ThimbleError", code: "format" })
  })

  test("a bool that is neither 0 nor 1", async () => {
    const bytes = await encoded({ mask: { dtype: "BOOL", shape: [3], bytes: new Uint8Array([1, 0, 7]) } })
    await using file = await openSafetensors(bytes)
    await expect(file.tensor("mask")).rejects.toThrow(new RegExp(`tensor 'mask' has 7 at byte ${bytes.length - 1}`))
  })
})

describe("files", () => {
  let folder: string
  beforeAll(async () => { folder = await mkdtemp(join(tmpdir(), "thimble-")) })
  afterAll(() => rm(folder, { recursive: true }))

  test("tensors are saved and read back; a header that is not a multiple of 8 long is read, too", async () => {
    const path = join(folder, "a.safetensors")
    await saveSafetensors(path, { x: tensor([[1, 2], [3, 4]]), half: tensor([0.1, -2], { dtype: "bf16" }), flag: tensor([true, false]), none: zeros([0]) })
    await using file = await openSafetensors(path)
    const { x, half, flag } = await file.tensors()
    expect(await x!.tolist()).toEqual([[1, 2], [3, 4]])
    expect([half!.dtype, (await half!.data())[1]]).toEqual(["bf16", -2])
    expect(await flag!.tolist()).toEqual([true, false])
    const odd = await openSafetensors(fileOf(`{"a":${entry("F32", [1], 0, 4)} }`, 4))
    expect([...odd.entries.values()][0]!.begin % 4).not.toBe(0)
    expect(await (await odd.tensor("a")).tolist()).toEqual([0])
  })

  test("a write that fails leaves neither the file nor a part of it", async () => {
    const gone = tensor([1])
    gone.dispose()
    await expect(saveSafetensors(join(folder, "b.safetensors"), { x: tensor([1]), y: gone })).rejects.toThrow(/disposed/)
    expect(await readdir(folder)).toEqual(["a.safetensors"])
  })

  test("names that no file can hold are refused", async () => {
    await expect(encoded({ __metadata__: tensor([1]) })).rejects.toThrow(/cannot name a tensor/)
    await expect(encoded({ "\ud800": tensor([1]) })).rejects.toThrow(/not valid Unicode/)
    await expect(encoded({ x: { dtype: "F32", shape: [2], bytes: new Uint8Array(4) } })).rejects.toThrow(/tensor 'x': F32\[2\] does not fit 4 bytes/)
  })
})

test("tensors are read and written one at a time and in pieces, so that none has to fit in memory twice", async () => {
  const large = tensor(Float32Array.from({ length: 300_001 }, (_, i) => i)), made: string[] = []
  const lazy = (name: string): RawTensor => ({ dtype: "F32", shape: [8], bytes: () => { made.push(name); return new Float32Array(8) } })
  const pieces = encodeSafetensors({ a: lazy("a"), b: lazy("b") })
  await pieces.next()
  expect(made).toEqual([])
  for await (const _ of pieces) expect(made.length).toBeLessThanOrEqual(2)
  expect(made).toEqual(["a", "b"])

  const bytes = await encoded({ large }), asked: number[] = [], close = (): Promise<void> => Promise.resolve()
  await using file = await openSafetensors({
    name: "large", bytes: bytes.length, close, [Symbol.asyncDispose]: close,
    read(begin: number, end: number, into = new Uint8Array(end - begin)) {
      asked.push(end - begin)
      into.set(bytes.subarray(begin, end))
      return Promise.resolve(into.subarray(0, end - begin))
    },
  })
  const back = await file.tensor("large")
  expect(Math.max(...asked)).toBeLessThanOrEqual(2 ** 19)
  expect(await back.data()).toEqual(await large.data())
})
