import { afterAll, beforeAll, expect, test } from "vitest"
import { quantizedWeight, quantizeWeight, random, referenceDevice, tensor, uploadParts, useDevice, withDevice, type Device } from "@thimble/core"
import { int } from "../../compress/src/index.ts"
import { open } from "../src/index.ts"
import { wasmDevice } from "../src/wasm/device.ts"
import { relaxedSimd } from "./matmul.case.ts"

const devices: Record<string, Device> = {}
beforeAll(async () => {
  devices.one = await open("wasm", { threads: 1 })
  devices.two = await open("wasm", { threads: 2 })
})
afterAll(async () => {
  useDevice(referenceDevice())
  for (const d of Object.values(devices)) await d.close()
})

const numbers = async (seed: number, n: number): Promise<Float32Array> =>
  withDevice(referenceDevice(), () => random.normal(random.key(seed), [n]).data()) as Promise<Float32Array>

const formats = { "int8, per row": int(8), "int8, groups of 64": int(8, { group: 64 }), "int4, groups of 32": int(4, { group: 32 }), "int4, groups of 128": int(4, { group: 128 }), "int4, per row": int(4) }
const sizes = [[1, 5, 32], [1, 16, 128], [2, 53, 224], [3, 33, 512], [8, 17, 160]] as const

for (const [name, format] of Object.entries(formats))
  for (const [m, n, k] of sizes) {
    if (format.group !== Infinity && k % format.group !== 0) continue
    test(`${name}: [${m}, ${k}] × [${n}, ${k}]ᵀ on integers is what its expansion says, on any number of threads`, async () => {
      const w = await numbers(n, n * k), x = await numbers(m, m * k)
      const run = (device: Device): Promise<Float32Array> =>
        withDevice(device, () => quantizeWeight(format, w, [n, k], { activations: "int8" }).apply(tensor(x, { shape: [m, k] })).data()) as Promise<Float32Array>
      const [want, one, two] = [await run(referenceDevice()), await run(devices.one!), await run(devices.two!)]
      expect(two).toEqual(one)
      // Codes are the same; only the order of f32 sums differs.
      const scale = Math.max(...want.map(Math.abs))
      one.forEach((y, i) => expect(Math.abs(y - want[i]!)).toBeLessThanOrEqual(1e-5 * scale))
    })
  }

for (const [name, format] of Object.entries(formats))
  test(`${name}: activations on a grid, and token by token, are rounded on integers as the expansion says`, async () => {
    for (const activations of ["int8PerToken", { scale: 0.02 }, { scale: 0.03, zero: 9 }] as const)
      for (const [m, n, k] of [[1, 5, 128], [3, 33, 512], [2, 9, 384]] as const) {
        const w = await numbers(n, n * k), x = await numbers(m, m * k)
        const run = (device: Device): Promise<Float32Array> =>
          withDevice(device, () => quantizeWeight(format, w, [n, k], { activations }).apply(tensor(x, { shape: [m, k] })).data()) as Promise<Float32Array>
        const [want, one, two] = [await run(referenceDevice()), await run(devices.one!), await run(devices.two!)]
        expect(two).toEqual(one)
        const scale = Math.max(...want.map(Math.abs))
        one.forEach((y, i) => expect(Math.abs(y - want[i]!)).toBeLessThanOrEqual(1e-5 * scale))
      }
  })

test("D4, F3: with int8 by rows and one scale of activations, integers and floats give the sum of codes exactly", async () => {
  const [m, n, k] = [4, 17, 1024], next = (i: number): number => ((i * 2654435761) >>> 0) % 255 - 127
  const codes = Int8Array.from({ length: n * k }, (_, i) => next(i)), scales = Float32Array.from({ length: n }, (_, i) => 2 ** -(i % 5))
  const x = Float32Array.from({ length: m * k }, (_, i) => next(i + 999)), step = 2 ** -7
  const apply = (device: Device, rows: number): Promise<Float32Array> => withDevice(device, () => {
    const parts = uploadParts({ codes: { data: codes, shape: [n, k], dtype: "i8" }, scales: { data: scales, shape: [n, 1], dtype: "f32" } })
    const weight = quantizedWeight(int(8, { scales: "f32" }), [n, k], parts, { activations: { scale: step } })
    return weight.apply(tensor(x.slice(0, rows * k).map((v) => v * step), { shape: [rows, k] })).data()
  }) as Promise<Float32Array>
  const want = Float32Array.from({ length: m * n }, (_, i) => {
    let sum = 0
    for (let c = 0; c < k; c++) sum += x[Math.floor(i / n) * k + c]! * codes[(i % n) * k + c]!
    return sum * scales[i % n]! * step
  })
  for (const device of [referenceDevice(), devices.one!, devices.two!]) expect(await apply(device, m)).toEqual(want)
  // Many rows go by floats.
  const many = new Float32Array(12 * k).map((_, i) => x[i % x.length]!)
  const weight = withDevice(devices.two!, () => quantizedWeight(int(8, { scales: "f32" }), [n, k], uploadParts({ codes: { data: codes, shape: [n, k], dtype: "i8" }, scales: { data: scales, shape: [n, 1], dtype: "f32" } }), { activations: { scale: step } }))
  const all = await withDevice(devices.two!, async () => weight.apply(tensor(many.map((v) => v * step), { shape: [12, k] })).data())
  all.forEach((y, i) => expect(y).toBe(want[i % want.length]!))
})

test("what lies beyond a grid is held at its ends, a NaN stays one, and a scale of 0 gives 0", async () => {
  const run = (device: Device, x: readonly number[], scale: number): Promise<Float32Array> => withDevice(device, () => {
    const values = new Float32Array(32)
    values.set(x)
    return quantizeWeight(int(8, { scales: "f32" }), Float32Array.of(1, ...new Float32Array(31)), [1, 32], { activations: { scale: tensor([scale]) } }).apply(tensor(values, { shape: [1, 32] })).data()
  }) as Promise<Float32Array>
  for (const device of [referenceDevice(), devices.one!])
    for (const [x, scale, want] of [[[1e9], 0.5, 63.5], [[-Infinity], 0.5, -63.5], [[0.25], 0.5, 0], [[0.75], 0.5, 1], [[NaN], 0.5, NaN], [[3], 0, 0]] as const)
      expect((await run(device, x, scale))[0]! + 0).toBe(want)
})

test("rows of zeros, and activations of zero, give zero", async () => {
  const y = await withDevice(devices.two!, () => quantizeWeight(int(4, { group: 32 }), new Float32Array(4 * 64), [4, 64], { activations: "int8" }).apply(tensor(new Float32Array(64), { shape: [1, 64] })).data())
  expect([...y]).toEqual([0, 0, 0, 0])
})

test("codes of −128, which other programs may have written, are taken for what they are, on engines of either kind", async () => {
  const n = 3, k = 320
  const codes = Int8Array.from({ length: n * k }, (_, i) => (i % 3 === 0 ? -128 : (i * 7) % 256 - 128)), scales = new Uint16Array(n * (k / 32)).fill(0x2c00)
  const run = (device: Device): Promise<Float32Array> => withDevice(device, () => {
    const parts = uploadParts({ codes: { data: codes, shape: [n, k], dtype: "i8" }, scales: { data: scales, shape: [n, k / 32], dtype: "f16" } })
    return quantizedWeight(int(8, { group: 32 }), [n, k], parts, { activations: "int8" }).apply(tensor(Float32Array.from({ length: k }, (_, i) => Math.cos(i)), { shape: [1, k] })).data()
  }) as Promise<Float32Array>
  const want = await run(referenceDevice())
  for (const features of [undefined, { relaxed: false, wide: false }, ...(relaxedSimd ? [{ relaxed: true, wide: false, unsignedDot: false }] : [])]) {
    const device = features === undefined ? devices.two! : await wasmDevice({ threads: 1, features, maximumPages: 1024 })
    const got = await run(device)
    got.forEach((y, i) => expect(Math.abs(y - want[i]!)).toBeLessThanOrEqual(1e-5 * Math.abs(want[i]!)))
    if (features !== undefined) await device.close()
  }
})
