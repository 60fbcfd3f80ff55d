import fc from "fast-check"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import { encodeGguf, encodeImatrix, encodeOldImatrix, meanSquares, openGguf, openImatrix, saveImatrix, type GgufContents, type GgufTensor, type GgufValue, type Imatrix } from "../src/index.ts"
import { joined } from "./gguf-arbitrary.ts"
import { imatrices } from "./imatrix-arbitrary.ts"

const folder = mkdtempSync(join(tmpdir(), "thimble-imatrix-"))
afterAll(() => rmSync(folder, { recursive: true }))
const old = (m: Imatrix): Uint8Array => Uint8Array.from([...encodeOldImatrix(m)].flatMap((piece) => [...piece]))
const sorted = ({ entries, ...rest }: Imatrix): object => ({ ...rest, entries: [...entries].sort(([a], [b]) => (a < b ? -1 : 1)) })

describe("laws of importance matrices", () => {
  test("a GGUF file gives back what was written, and the same bytes again", () => fc.assert(fc.asyncProperty(imatrices, async (m) => {
    const bytes = await joined(encodeImatrix(m)), back = await openImatrix(bytes)
    expect(sorted(back)).toEqual(sorted(m))
    expect(await joined(encodeImatrix(back))).toEqual(bytes)
  }), { numRuns: 60 }))
  test("the older format keeps mean squares, of experts too, whatever a chunk is taken for", () => fc.assert(fc.asyncProperty(imatrices, fc.integer({ min: 1, max: 600 }), async (m, chunkSize) => {
    const back = await openImatrix(old(m), { chunkSize })
    expect([back.chunks, back.datasets]).toEqual([m.chunks, m.datasets.filter((d, i) => d !== "" && i === m.datasets.length - 1)])
    expect([...back.entries.keys()].sort()).toEqual([...m.entries.keys()].sort())
    for (const [name, entry] of m.entries) meanSquares(entry).forEach((v, i) => expect(Math.abs(meanSquares(back.entries.get(name)!)[i]! - v)).toBeLessThanOrEqual(v * 1e-6))
  }), { numRuns: 60 }))
})

test("files are laid out as llama.cpp's", async () => {
  const m: Imatrix = { entries: new Map([["b", { squares: Float32Array.of(6, 8), sums: Float32Array.of(1, -2), counts: [4] }], ["a", { squares: Float32Array.of(2, 4, 0, 0), counts: [600, 0] }]]), datasets: ["wiki.txt"], chunks: 2, chunkSize: 512 }
  const int = (...v: number[]): Uint8Array => new Uint8Array(Int32Array.from(v).buffer), f32 = (...v: number[]): Uint8Array => new Uint8Array(Float32Array.from(v).buffer), text = (s: string): Uint8Array => new TextEncoder().encode(s)
  // Names in order; a mean times the calls, which are chunks that were begun; ones for an expert that no token came to.
  expect(old(m)).toEqual(Uint8Array.from([int(2), int(1), text("a"), int(2, 4), f32(Math.fround(2 / 600) * 2, Math.fround(4 / 600) * 2, 2, 2), int(1), text("b"), int(1, 2), f32(1.5, 2), int(2, 8), text("wiki.txt")].flatMap((b) => [...b])))
  const file = await openGguf(await joined(encodeImatrix(m)))
  expect([...file.metadata]).toEqual([
    ["general.type", { type: "string", value: "imatrix" }], ["imatrix.datasets", { type: "array", of: "string", value: ["wiki.txt"] }],
    ["imatrix.chunk_count", { type: "u32", value: 2 }], ["imatrix.chunk_size", { type: "u32", value: 512 }],
  ])
  expect([...file.entries].map(([name, { type, shape }]) => [name, type, shape])).toEqual([["a.in_sum2", "F32", [2, 2]], ["a.counts", "F32", [2, 1]], ["b.in_sum2", "F32", [1, 2]], ["b.counts", "F32", [1, 1]], ["b.in_sum", "F32", [1, 2]]])
  for (const [name, bytes] of [["m.dat", old(m)], ["m.gguf", await joined(encodeImatrix(m))]] as const) {
    await saveImatrix(join(folder, name), m)
    expect(new Uint8Array(readFileSync(join(folder, name)))).toEqual(bytes)
    expect((await openImatrix(join(folder, name))).chunks).toBe(2)
  }
})

test("the oldest files end with their entries", async () => {
  const bytes = Uint8Array.from([1, 0, 0, 0, 1, 0, 0, 0, 97, 3, 0, 0, 0, 1, 0, 0, 0, ...new Uint8Array(Float32Array.of(6).buffer)])
  expect(await openImatrix(bytes)).toEqual({ entries: new Map([["a", { squares: Float32Array.of(6 * 512), counts: [3 * 512] }]]), datasets: [], chunks: 0, chunkSize: 512 })
})

describe("what is no importance matrix is refused, with the place", () => {
  const metadata = new Map<string, GgufValue>([["general.type", { type: "string", value: "imatrix" }], ["imatrix.chunk_count", { type: "u32", value: 1 }], ["imatrix.chunk_size", { type: "u32", value: 512 }]])
  const f32 = (...v: number[]): GgufTensor => ({ type: "F32", shape: [v.length], bytes: new Uint8Array(Float32Array.from(v).buffer) })
  const refused = async (contents: Partial<GgufContents>, problem: string): Promise<void> =>
    expect(openImatrix(await joined(encodeGguf({ metadata, tensors: new Map(), ...contents })))).rejects.toThrow(`imatrix: bytes: ${problem}`)
  test("GGUF", async () => {
    await refused({ metadata: new Map([["general.type", { type: "string", value: "model" }]]) }, "'general.type' is 'model', not 'imatrix'; is it a model?")
    await refused({ metadata: new Map([["general.type", { type: "string", value: "imatrix" }]]) }, "'imatrix.chunk_count' is missing")
    await refused({ tensors: new Map([["a.in_sum2", f32(1)]]) }, "has counts of 'a', but no 'a.counts'".replace("counts of", "sums of"))
    await refused({ tensors: new Map([["a.counts", f32(1)]]) }, "has counts of 'a', but no 'a.in_sum2'")
    await refused({ tensors: new Map([["a.in_sum2", f32(1, NaN)], ["a.counts", f32(1)]]) }, "element 1 of 'a.in_sum2' is NaN")
    await refused({ tensors: new Map([["a.in_sum2", f32(1, 2, 3)], ["a.counts", f32(1, 1)]]) }, "'a' has 3 sums for 2 counts")
    await refused({ tensors: new Map([["a.in_sum2", f32(1, 2)], ["a.counts", f32(1)], ["a.in_sum", f32(1)]]) }, "'a' has 1 sums, and 2 sums of squares")
  })
  test("the older format", async () => {
    const good = old({ entries: new Map([["a", { squares: Float32Array.of(6, 8), counts: [4] }]]), datasets: [], chunks: 2, chunkSize: 512 })
    await expect(openImatrix(good.subarray(0, 22))).rejects.toThrow("'a' would take at least 8 bytes, but the file has 5 more (byte 17); is it whole?")
    await expect(openImatrix(good.with(0, 0))).rejects.toThrow("imatrix: bytes: has 0 entries (byte 0); is it an importance matrix?")
    await expect(openImatrix(good.with(20, 0xff))).rejects.toThrow("value 0 of 'a' is")
    await expect(openImatrix(Uint8Array.from([...good, 1, 2]))).rejects.toThrow("goes on for 2 bytes after its end")
    await expect(openImatrix(new Uint8Array(3))).rejects.toThrow("the file ends within the number of entries")
  })
  test("what cannot be written", () => {
    const of = (squares: number[], counts: number[]): Imatrix => ({ entries: new Map([["a", { squares: Float32Array.from(squares), counts }]]), datasets: [], chunks: 1, chunkSize: 8 })
    expect(() => old(of([1], []))).toThrow("imatrix: 'a' has 1 sums for 0 counts")
    expect(() => old(of([-1], [1]))).toThrow("'a' has sums that are no numbers")
    expect(() => old(of([1], [0]))).toThrow("no matrix has seen a token")
  })
})
