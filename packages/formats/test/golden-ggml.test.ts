import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { currentDevice, quantizedWeight, tensor, uploadParts, useDevice, type Device } from "@thimble/core"
import { kernelDevices, recordedFor } from "../../conformance/src/devices.ts"
import { openGolden } from "../../conformance/src/golden.ts"
import { ggml, type BlockFormat, type GgmlName } from "../src/index.ts"

interface Case { readonly type: GgmlName; readonly block_elems: number; readonly block_bytes: number; readonly variant: string; readonly rows: readonly number[]; readonly quantized: string; readonly dequantized: string }
interface Product { readonly type: GgmlName; readonly weights: string; readonly x: string; readonly y_f64: string }
interface Manifest { readonly row_names: readonly string[]; readonly cases: readonly Case[]; readonly matvec: readonly Product[] }

const set = await openGolden<Manifest>("ggml", new URL("../fixtures", import.meta.url))
const columns = 512
const input = set.array("input") as Float32Array, importance = set.array("imatrix") as Float32Array
const bytesOf = (name: string): Uint8Array => {
  const { buffer, byteOffset, byteLength } = set.array(name)
  return new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength)
}
const words = (a: { buffer: ArrayBufferLike; byteOffset: number; length: number }): Int32Array => new Int32Array(a.buffer.slice(a.byteOffset, a.byteOffset + 4 * a.length))
const shapeOf = ({ rows }: Case): [number, number] => [rows.length, columns]
const weightOf = (format: BlockFormat, c: Case, activations: "f32" | "int8" = "f32") =>
  quantizedWeight(format, shapeOf(c), uploadParts(format.split(bytesOf(c.quantized), shapeOf(c))), { activations })

/** What llama-quantize writes; `row_ref` is a cheaper variant of IQ4_NL that only run-time code of ggml uses. */
const written = set.manifest.cases.filter((c) => c.variant === "none" || c.variant === "imatrix")
const name = (c: Case): string => `${c.type}, ${c.variant.split(" ")[0]}`

test("every recorded type is in the table", () => {
  expect([...new Set(set.manifest.cases.map((c) => c.type))].filter((t) => !(t in ggml))).toEqual([])
})

describe("encoding gives ggml's bytes", () => {
  for (const c of written.filter(({ type }) => ggml[type].encodes))
    test(name(c), () => {
      const format = ggml[c.type], { rows } = c
      expect(format.block).toEqual({ size: c.block_elems, bytes: c.block_bytes })
      const values = Float32Array.from(rows.flatMap((r) => [...input.subarray(r * columns, (r + 1) * columns)]))
      const got = format.join(format.encode(values, shapeOf(c), c.variant === "imatrix" ? { importance } : {}), shapeOf(c))
      const want = bytesOf(c.quantized), stride = want.length / rows.length
      const differing = rows.map((r, i) => [set.manifest.row_names[r], want.subarray(i * stride, (i + 1) * stride).reduce((n, b, j) => n + Number(b !== got[i * stride + j]), 0)]).filter(([, n]) => n !== 0)
      expect(differing).toEqual([])
    })
})

describe.each(kernelDevices)("on $name", (entry) => {
  const outer = currentDevice()
  let device: Device
  beforeAll(async () => void useDevice((device = await entry.open())))
  afterAll(async () => {
    useDevice(outer)
    await device.close()
  })

  for (const c of recordedFor(entry, set.manifest.cases, ({ type }) => type))
    test(`${name(c)}: decoded as a matrix, by rows and within a product, bit for bit`, async () => {
      const weight = weightOf(ggml[c.type], c), want = words(set.array(c.dequantized) as Float32Array), rows = c.rows.length
      expect(words(await weight.dense().data() as Float32Array)).toEqual(want)
      const some = [rows - 1, 3]
      expect(words(await weight.rows(tensor(some, { dtype: "i32" })).data() as Float32Array)).toEqual(Int32Array.from(some.flatMap((r) => [...want.subarray(r * columns, (r + 1) * columns)])))
      // A row of the identity picks a column: sums of one term are exact.
      const picked = [5, 301], x = new Float32Array(2 * columns)
      picked.forEach((p, i) => (x[i * columns + p] = 1))
      const y = await weight.apply(tensor(x, { shape: [2, columns] })).data()
      const dense = set.array(c.dequantized) as Float32Array
      picked.forEach((p, i) => expect([...y.subarray(i * rows, (i + 1) * rows)]).toEqual(Array.from({ length: rows }, (_, r) => dense[r * columns + p]! + 0)))
    })

  for (const { type, weights, x, y_f64: y } of set.manifest.matvec)
    test(`${type}: a product with a vector`, async () => {
      const c = written.find((w) => w.quantized === weights)!
      const got = await weightOf(ggml[type], c).apply(tensor(set.array(x) as Float32Array, { shape: [1, columns] })).data()
      const want = set.array(y) as Float64Array, vector = set.array(x) as Float32Array, dense = set.array(c.dequantized) as Float32Array
      want.forEach((v, r) => {
        const size = vector.reduce((s, a, i) => s + Math.abs(a * dense[r * columns + i]!), 0)
        expect(Math.abs(got[r]! - v)).toBeLessThanOrEqual((columns + 2) * 2 ** -24 * size)
      })
      // On integers: what rounding the vector to int8 may do, half of amax/127 for each element of a group of 32.
      const rounded = await weightOf(ggml[type], c, "int8").apply(tensor(vector, { shape: [1, columns] })).data()
      want.forEach((v, r) => {
        let bound = 0
        for (let g = 0; g < columns; g += 32) {
          const amax = Math.max(...vector.subarray(g, g + 32).map(Math.abs))
          for (let i = g; i < g + 32; i++) bound += (amax / 254) * Math.abs(dense[r * columns + i]!)
        }
        expect(Math.abs(rounded[r]! - v)).toBeLessThanOrEqual(bound * (1 + 1e-5))
      })
    })
})
