import { readFileSync } from "node:fs"
import { tensor, ThimbleError } from "@thimble/core"
import { describe, expect, test } from "vitest"
import { encodeNpy, encodeNpz, openNpy, openNpz, type NpyArray, type NpyDType, type StoredArray } from "../src/index.ts"
import { joined } from "./gguf-arbitrary.ts"

// Recorded here, beside this package, with the NumPy that expected.json names.
interface Expected { readonly by: string; readonly arrays: Readonly<Record<string, { readonly dtype: NpyDType; readonly shape: readonly number[]; readonly values: readonly (number | string)[] }>> }
const folder = new URL("../fixtures/npy/", import.meta.url)
const read = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, folder)))
const { arrays } = JSON.parse(Buffer.from(read("expected.json")).toString()) as Expected
const plain = (values: StoredArray): unknown[] => Array.from(values as ArrayLike<unknown>, (v) => (typeof v === "bigint" ? String(v) : v))

describe("arrays that NumPy saved", () => {
  test.each(Object.keys(arrays))("%s", async (name) => {
    const { dtype, shape, values } = arrays[name]!
    const npz = [await openNpz(read("stored.npz")), await openNpz(read("packed.npz"))]
    await using file = await openNpy(new URL(`${name}.npy`, folder))
    expect([file.dtype, file.shape]).toEqual([dtype, shape])
    for (const array of [file.array, ...npz.map((z) => () => z.array(name))]) if (dtype !== "f16") expect(plain(await array())).toEqual(values)
    for (const t of dtype === "i64" || dtype === "u64" ? [] : [await file.tensor(), await npz[0]!.tensor(name), await npz[1]!.tensor(name)]) {
      expect([t.dtype, t.shape]).toEqual([dtype, shape])
      expect([...await t.data()].map(Number)).toEqual(values)
    }
  })
  test("written again, arrays in C order have the same bytes", async () => {
    for (const [name, { dtype, shape }] of Object.entries(arrays)) {
      if (/fortran|big/.test(name)) continue
      await using file = await openNpy(read(`${name}.npy`))
      const array: NpyArray = { dtype, shape, bytes: await file.array() }
      expect(await joined(encodeNpy(array))).toEqual(read(`${name}.npy`))
    }
  })
  test("what no tensor holds is refused", async () => {
    await expect(openNpy(read("records.npy"))).rejects.toThrow("holds records; save their fields as arrays of their own")
    await expect(openNpy(read("complex.npy"))).rejects.toThrow("elements are of the type '<c16', which no tensor holds")
    await expect((await openNpy(read("i8.npy"))).tensor()).rejects.toThrow("is i64, which no tensor holds; read its array()")
  })
})

test("archives are written and read back, stored or deflated, the same bytes for the same arrays", async () => {
  const own = { a: tensor([[1, 2], [3, 4]]), "b/c": tensor([1, 0, 1], { dtype: "bool" }), ids: { dtype: "i64", shape: [1], bytes: BigInt64Array.of(7n) } as NpyArray, zeros: tensor(new Float32Array(10_000)) }
  const sizes: number[] = []
  for (const compress of [false, true]) {
    const bytes = await joined(encodeNpz(own, { compress }))
    expect(await joined(encodeNpz(own, { compress }))).toEqual(bytes)
    const file = await openNpz(bytes)
    expect(file.names).toEqual(["a", "b/c", "ids", "zeros"])
    expect(await (await file.tensor("a")).tolist()).toEqual([[1, 2], [3, 4]])
    expect(await (await file.tensor("b/c")).tolist()).toEqual([true, false, true])
    expect(await file.array("ids")).toEqual(BigInt64Array.of(7n))
    expect((await file.array("zeros")).length).toBe(10_000)
    await expect(file.array("d")).rejects.toThrow("no array 'd'; it has ids")
    sizes.push(bytes.length)
  }
  expect(sizes[1]!).toBeLessThan(sizes[0]! / 20)
})

describe("what cannot be read or written is refused, with its place", () => {
  const good = read("f4.npy")
  const head = (text: string, version = 1): Uint8Array => Uint8Array.from([...good.subarray(0, 6), version, 0, text.length & 255, text.length >> 8, ...Buffer.from(text)])
  test.each([
    ["nothing", new Uint8Array(0), "bytes: does not begin with '\\x93NUMPY' (byte 0); is it an npy file?"],
    ["another format", read("stored.npz"), "does not begin with '\\x93NUMPY'"],
    ["a later version", good.with(6, 4), "is of version 4.0 (byte 6); 1.0 to 3.0 can be read"],
    ["half a header", good.subarray(0, 50), "the header ends at byte 128, but the file has 50; was it cut off?"],
    ["half the elements", good.subarray(0, 140), "f32[2, 3] takes 24 bytes, but 12 follow the header (byte 128); was it cut off?"],
    ["bytes behind", Uint8Array.from([...good, 0]), "f32[2, 3] takes 24 bytes, but 25 follow the header (byte 128)"],
    ["no dictionary", head("hello"), 'the header (byte 10) is no dictionary: "hello"'],
    ["no type", head("{'shape': (), 'fortran_order': False}"), "gives no element type"],
    ["no order", head("{'descr': '<f4', 'shape': ()}"), "does not tell the order of axes"],
    ["no shape", head("{'descr': '<f4', 'fortran_order': False}"), "gives no shape"],
    ["a negative size", head("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), "the shape is (-1,), no list of whole numbers"],
    ["more elements than can be counted", head("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999)}"), "has more elements than can be counted"],
    ["text", head("{'descr': '<U4', 'fortran_order': False, 'shape': ()}"), "elements are of the type '<U4'"],
  ])("%s", async (_, bytes, message) => {
    await expect(openNpy(bytes)).rejects.toThrow(message)
    await expect(openNpy(bytes)).rejects.toThrow(ThimbleError)
  })
  test("archives", async () => {
    await expect(openNpz(good)).rejects.toThrow("npz: bytes: the archive cannot be read")
    await expect(openNpz(read("stored.npz").subarray(0, 500))).rejects.toThrow("is it a zip file, and whole?")
    // A member that claims two gigabytes is refused before they are allocated: no deflate is that good.
    for (const name of ["stored.npz", "packed.npz"]) {
      const bytes = read(name)
      new DataView(bytes.buffer).setUint32(Buffer.from(bytes).indexOf("PK\x01\x02") + 24, 0x7ffffff0, true)
      await expect(openNpz(bytes)).rejects.toThrow(/'f8.npy' claims 2147483632 bytes, from \d+/)
    }
  })
  test("writing", async () => {
    await expect(joined(encodeNpy(tensor([1], { dtype: "bf16" })))).rejects.toThrow("no type of npy files holds bf16; cast it to f32, which is exact")
    await expect(joined(encodeNpy({ dtype: "i64", shape: [2], bytes: new Uint8Array(8) }))).rejects.toThrow("i64[2] takes 16 bytes, got 8")
  })
})
