import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { f16Value, quantizedWeight, quantizeWeight, referenceDevice, tensor, ThimbleError, uploadParts, useDevice, withDevice, type Device } from "@thimble/core"
import { open } from "../../kernels/src/index.ts"
import { ggml, type GgmlName } from "../src/index.ts"

const names = Object.keys(ggml) as GgmlName[]
let wasm: Device
beforeAll(async () => (wasm = await open("wasm", { threads: 2 })))
afterAll(async () => {
  useDevice(referenceDevice())
  await wasm.close()
})

/** Rows that no encoder made: any bytes, but with scales that are numbers. */
function blocks(name: GgmlName, rows: number, columns: number, seed: number): Uint8Array {
  const { block } = ggml[name]
  let state = seed
  const bytes = Uint8Array.from({ length: (rows * columns / block.size) * block.bytes }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state >>> 24
  })
  // f16 and bf16 exponents stay small: the top bits of every odd byte where scales may lie.
  const parts = ggml[name].split(bytes, [rows, columns])
  for (const part of Object.values(parts)) if (part.dtype === "f16" || part.dtype === "bf16") part.data.forEach((v, i) => (part.data[i] = part.dtype === "f16" ? v & 0x9fff : (v & 0x807f) | 0x3f00))
  for (const part of Object.values(parts)) if (part.dtype === "f32") part.data.forEach((_, i) => (part.data[i] = Math.sin(i + seed)))
  if (name === "IQ1_M") parts.scales!.data.forEach((v, i) => { if (i % 4 === 3) parts.scales!.data[i] = v & 0x9fff })
  if (name === "MXFP4") parts.e!.data.forEach((v, i) => (parts.e!.data[i] = 118 + (v & 7)))
  return ggml[name].join(parts, [rows, columns])
}

describe.each(names)("%s", (name) => {
  const format = ggml[name], { size, bytes } = format.block

  test("splitting blocks into parts and joining them is the identity on any bytes", () =>
    fc.assert(fc.property(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 }), fc.infiniteStream(fc.nat(255)), (rows, n, stream) => {
      const all = Uint8Array.from([...stream.take(rows * n * bytes)])
      const shape = [rows, n * size] as const
      expect(format.join(format.split(all, shape), shape)).toEqual(all)
    }), { numRuns: 10 }))

  test("bits per weight are the block's", () => {
    const columns = 256 * 4
    const weight = quantizedWeight(format, [2, columns], uploadParts(format.split(blocks(name, 2, columns, 1), [2, columns])))
    expect(weight.bytes).toBe((2 * columns * format.bits) / 8)
  })

  for (const [m, n, k] of [[1, 5, 256], [3, 33, 512], [1, 16, 1280]] as const)
    test(`int8 activations: [${m}, ${k}] × [${n}, ${k}]ᵀ on wasm is what the definition says`, async () => {
      const all = blocks(name, n, k, 7 * m + n), x = Float32Array.from({ length: m * k }, (_, i) => Math.sin(i * 1.7) * (1 + (i % 7)))
      const run = (device: Device): Promise<Float32Array> => withDevice(device, () =>
        quantizedWeight(format, [n, k], uploadParts(format.split(all, [n, k])), { activations: "int8" }).apply(tensor(x, { shape: [m, k] })).data()) as Promise<Float32Array>
      const [want, got] = [await run(referenceDevice()), await run(wasm)]
      // The codes agree; sums are taken in another order.
      const scale = Math.max(...want.map(Math.abs))
      expect(scale).toBeGreaterThan(0)
      got.forEach((y, i) => expect(Math.abs(y - want[i]!)).toBeLessThanOrEqual(2e-5 * scale))
    })

  if (!format.encodes) {
    test("is only read", () => expect(() => format.encode(new Float32Array(size), [1, size])).toThrow("has no encoder"))
    return
  }
  test("rows are encoded by themselves: changing one leaves the others' bytes, and a matrix of one row has the same", () => {
    const columns = Math.max(size, 64), values = Float32Array.from({ length: 3 * columns }, (_, i) => Math.sin(i * i))
    const encode = (v: Float32Array, rows: number): Uint8Array => format.join(format.encode(v, [rows, columns]), [rows, columns])
    const stride = (columns / size) * bytes, all = encode(values, 3)
    const changed = encode(values.map((v, i) => (i < columns ? -3 * v : v)), 3)
    expect(changed.subarray(stride)).toEqual(all.subarray(stride))
    expect(encode(values.slice(columns, 2 * columns), 1)).toEqual(all.subarray(stride, 2 * stride))
  })
  test("rows that are no whole blocks are refused", () => {
    if (size > 1) expect(() => format.encode(new Float32Array(2 * size - 1), [1, 2 * size - 1])).toThrow(ThimbleError)
    expect(() => format.encode(new Float32Array(size), [1, size], { importance: new Float32Array(3 * size) })).toThrow(`${3 * size} importances for ${size} columns`)
  })
})

/** |w − ŵ| by block, in units that the block's own scale gives; u is half a unit of the f16 scale. */
const u = 2 ** -11
const group = (n: number): fc.Arbitrary<Float32Array> => fc.oneof(
  fc.array(fc.float({ noNaN: true, min: -100, max: 100 }), { minLength: n, maxLength: n }),
  fc.array(fc.integer({ min: -20, max: 20 }), { minLength: n, maxLength: n }),
  fc.array(fc.float({ noNaN: true, min: 1, max: 2 }), { minLength: n, maxLength: n }),
).map((v) => Float32Array.from(v))

describe("errors are bounded", () => {
  const scaleOf = (name: GgmlName, x: Float32Array): number => Math.abs(f16Value(ggml[name].encode(x, [1, x.length]).d!.data[0]!))
  const back = async (name: GgmlName, x: Float32Array): Promise<Float32Array> => await quantizeWeight(ggml[name], x, [1, x.length]).dense().data() as Float32Array
  const tiny = 2 ** -25

  test("Q8_0: (½ + 127u) d", () => fc.assert(fc.asyncProperty(group(32), async (x) => {
    const d = scaleOf("Q8_0", x), y = await back("Q8_0", x)
    x.forEach((v, i) => expect(Math.abs(v - y[i]!)).toBeLessThanOrEqual(d * (0.5 + 127 * u) + 127 * tiny))
  }), { numRuns: 40 }))
  // The extreme of the other sign does not fit: it may be off by a whole step.
  test.each([["Q4_0", 8], ["Q5_0", 16]] as const)("%s: (1 + %iu) d, for the extreme of the other sign lies beyond the codes", (name, top) => fc.assert(fc.asyncProperty(group(32), async (x) => {
    const d = scaleOf(name, x), y = await back(name, x)
    x.forEach((v, i) => expect(Math.abs(v - y[i]!)).toBeLessThanOrEqual(d * (1 + top * u) * (1 + 2 ** -20) + top * tiny))
  }), { numRuns: 40 }))
  test.each([["Q4_1", 15], ["Q5_1", 31]] as const)("%s: half a step, and what f16 takes from step and minimum", (name, top) => fc.assert(fc.asyncProperty(group(32), async (x) => {
    const d = scaleOf(name, x), y = await back(name, x), min = Math.min(...x)
    x.forEach((v, i) => expect(Math.abs(v - y[i]!)).toBeLessThanOrEqual(d * (0.5 + top * u) + Math.abs(min) * u + (top + 1) * tiny + 1e-5))
  }), { numRuns: 40 }))
  test("MXFP4: a quarter of the largest magnitude", () => fc.assert(fc.asyncProperty(group(32), async (x) => {
    const y = await back("MXFP4", x), amax = Math.max(...x.map(Math.abs))
    x.forEach((v, i) => expect(Math.abs(v - y[i]!)).toBeLessThanOrEqual(amax / 4))
  }), { numRuns: 40 }))
  test("ternary codes: half of the largest magnitude, and what f16 takes from it", () => fc.assert(fc.asyncProperty(group(256), async (x) => {
    const amax = Math.max(...x.map(Math.abs))
    for (const name of ["TQ1_0", "TQ2_0"] as const) {
      const y = await back(name, x)
      x.forEach((v, i) => expect(Math.abs(v - y[i]!)).toBeLessThanOrEqual(amax * (0.5 + u) + tiny))
    }
  }), { numRuns: 10 }))
})

test("what blocks cannot hold is refused, with its place; plain floats hold it", () => {
  const wrong = new Float32Array(512).with(300, NaN)
  expect(() => ggml.Q4_K.encode(wrong, [1, 512])).toThrow("encode: row 0, column 300 is NaN; quantize finite weights")
  expect(ggml.F16.encode(wrong, [1, 512]).values!.data[300]).toBe(0x7e00)
  const far = new Float32Array(512).with(256, 5e8)
  for (const name of names.filter((n) => "d" in ggml[n].split(new Uint8Array((512 / ggml[n].block.size) * ggml[n].block.bytes), [1, 512]) && ggml[n].encodes)) {
    expect(() => ggml[name].encode(far, [1, 512])).toThrow(/block \d+ of .* reaches too far for an f16 scale; scale the weights down/)
    expect(() => ggml[name].encode(far.with(256, 3e38), [1, 512])).toThrow(`row 0, column 256 is ${Math.fround(3e38)}; ${name} does not reach that far`)
  }
})

test("no rows are no bytes", async () => {
  for (const name of names) {
    const weight = quantizedWeight(ggml[name], [0, 256], uploadParts(ggml[name].split(new Uint8Array(0), [0, 256])))
    expect([weight.bytes, (await weight.dense().data()).length]).toEqual([0, 0])
  }
})

test("on Gaussian weights more bits mean less error", async () => {
  const x = Float32Array.from({ length: 4 * 1024 }, (_, i) => Math.sqrt(-2 * Math.log(((i * 7919) % 4093 + 1) / 4094)) * Math.cos(i * 2.399963))
  const errors = new Map<string, number>()
  for (const name of names.filter((n) => ggml[n].encodes)) {
    const y = await quantizeWeight(ggml[name], x, [4, 1024]).dense().data()
    errors.set(name, Math.sqrt(x.reduce((s, v, i) => s + (v - y[i]!) ** 2, 0) / x.length))
  }
  for (const order of [["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0", "Q3_K", "Q2_K", "TQ2_0"], ["Q4_K", "MXFP4"], ["IQ4_NL", "Q4_0"], ["IQ4_XS", "Q4_0"]])
    for (let i = 1; i < order.length; i++) expect([order[i - 1], errors.get(order[i - 1]!)! < errors.get(order[i]!)!]).toEqual([order[i - 1], true])
})
