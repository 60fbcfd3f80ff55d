import { afterAll, beforeAll, expect, test } from "vitest"
import { quantizedWeight, quantizeWeight, random, referenceDevice, tensor, uploadParts, useDevice, withDevice, type Buffer, type Device } from "@thimble/core"
import { bitmask, blocks, csr, nOfM, type SparseFormat } from "../../compress/src/index.ts"
import { devices as available, open } from "../src/index.ts"
import { wasmDevice } from "../src/wasm/device.ts"

const devices: Record<string, Device> = {}
beforeAll(async () => {
  devices.one = await open("wasm", { threads: 1 })
  devices.two = await open("wasm", { threads: 2 })
  devices.plain = await wasmDevice({ threads: 1, features: { relaxed: false, wide: false }, maximumPages: 1000 })
})
afterAll(async () => {
  useDevice(referenceDevice())
  for (const d of Object.values(devices)) await d.close()
})

const numbers = async (seed: number, n: number): Promise<Float32Array> => withDevice(referenceDevice(), () => random.normal(random.key(seed), [n]).data()) as Promise<Float32Array>
const formats: readonly SparseFormat[] = [csr(), csr({ values: "bf16" }), csr({ values: "int8" }), bitmask(), bitmask({ values: "f16" }), bitmask({ values: "int4" }), bitmask({ values: "bf16" }), bitmask({ values: "int8" }), nOfM(2, 4), nOfM(2, 4, { values: "f16" }), nOfM(2, 4, { values: "int8" }), nOfM(2, 4, { values: "int4" }), nOfM(4, 8, { values: "int4" }), nOfM(1, 4), nOfM(1, 2, { values: "int8" }), nOfM(4, 8), blocks([4, 4]), blocks([1, 8], { values: "f16" }), blocks([3, 4]), blocks([2, 2])]
const sizes = [[1, 5, 32], [3, 33, 72], [9, 17, 200], [1, 3, 40]] as const

for (const format of formats)
  for (const [m, n, k] of sizes)
    test(`${format.name}: [${m}, ${k}] × [${n}, ${k}]ᵀ is what its expansion says, on any number of threads`, async () => {
      const w = await numbers(n, n * k), x = await numbers(m, m * k)
      // Of each eight neighbours one or two stay in halves of rows, and none in others: what all of the formats can store.
      const sparse = w.map((v, i) => ((i % k) % 8 === Math.floor(i / 24) % 3 || (i % k) % 8 === 5 ? (Math.floor(i / k) % 3 === 2 ? 0 : v) : 0)), run = (device: Device): Promise<Float32Array> =>
        withDevice(device, () => quantizeWeight(format, sparse, [n, k]).apply(tensor(x, { shape: [m, k] })).mul(2).data()) as Promise<Float32Array>
      const expected = await run(referenceDevice()), got = await run(devices.one!)
      expect(expected.some((v) => v !== 0)).toBe(true)
      got.forEach((v, i) => expect(Math.abs(v - expected[i]!), `element ${i}`).toBeLessThanOrEqual(1e-4))
      expect(await run(devices.two!)).toEqual(got)
      ;(await run(devices.plain!)).forEach((v, i) => expect(Math.abs(v - expected[i]!), `element ${i}, without relaxed instructions`).toBeLessThanOrEqual(1e-4))
    })

// So many elements that values fill whole cache lines, the last of which is the memory's.
const atTheEnd = [[bitmask({ values: "bf16" }), 5, 40, 60], [bitmask({ values: "int8" }), 7, 40, 60], [bitmask({ values: "int4" }), 9, 40, 124], [nOfM(4, 8, { values: "int4" }), 9, 56, 252], [nOfM(2, 4, { values: "f16" }), 3, 40, 60], [nOfM(2, 4, { values: "bf16" }), 3, 40, 60], [nOfM(2, 4, { values: "int8" }), 3, 40, 60], [nOfM(2, 4, { values: "int4" }), 9, 56, 252]] as const
test.each(atTheEnd)("$name: values at the end of all memory are multiplied, and nothing is read behind them", async (format, n, k, count) => {
  const pages = 40, device = await wasmDevice({ threads: 1, features: { relaxed: true, wide: false }, maximumPages: pages }), x = await numbers(k, k)
  const [, of, every] = /^(\d+):(\d+)/.exec(format.name) ?? []
  // The first elements of all, or of their neighbours; the last row of a bitmask may have none.
  const w = (await numbers(n, n * k)).map((v, i) => ((of === undefined ? i < count : i % Number(every) < Number(of)) ? v : 0))
  const { values, ...parts } = format.encode(w, [n, k]), bytes = values!.data.byteLength
  expect(bytes % 64).toBe(0)
  const { row, ...others } = uploadParts({ ...parts, row: { data: x, shape: [1, k], dtype: "f32" } }, device)
  const mark = device.alloc(64) as Buffer & { at: number }, room = device.alloc(pages * 65536 - bytes - mark.at - 64)
  const own = uploadParts({ values: values! }, device)
  expect((own.values!.storage!.buffer as typeof mark).at + bytes).toBe(pages * 65536)
  device.free(room)
  device.free(mark)
  const got = await quantizedWeight(format, [n, k], { ...others, ...own }).apply(row!).data()
  const want = await withDevice(referenceDevice(), () => quantizeWeight(format, w, [n, k]).apply(tensor(x, { shape: [1, k] })).data())
  got.forEach((v, i) => expect(Math.abs(v - want[i]!), `element ${i}`).toBeLessThanOrEqual(1e-4))
  await device.close()
})

test.each(["webgpu", "gpujs"])("%s decodes what is stored to the same numbers, and multiplies with it", async (name) => {
  const found = (await available()).find((d) => d.name === name)
  if (found?.available !== true) return void console.warn(`${name} is not here: ${found?.reason}`)
  const device = await open(name), [m, n, k] = [2, 5, 136], w = await numbers(n, n * k), x = await numbers(m, m * k)
  try {
    for (const format of formats) {
      const sparse = w.map((v, i) => ((i % k) % 8 === 3 ? v : 0)), run = (d: Device) => withDevice(d, () => {
        const weight = quantizeWeight(format, sparse, [n, k])
        return Promise.all([weight.dense().data(), weight.apply(tensor(x, { shape: [m, k] })).data()]) as Promise<Float32Array[]>
      })
      const [dense, product] = await run(device), [expected, wanted] = await run(referenceDevice())
      expect([...dense!], format.name).toEqual([...expected!])
      product!.forEach((v, i) => expect(Math.abs(v - wanted![i]!), format.name).toBeLessThanOrEqual(1e-4))
    }
  } finally {
    await device.close()
  }
})
