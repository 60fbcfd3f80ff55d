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
