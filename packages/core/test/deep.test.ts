import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { cat, currentDevice, explain, grad, referenceDevice, sigmoid, erf, tensor, useDevice, type Device, type Tensor } from "../src/index.ts"
import { open } from "../../kernels/src/index.ts"

describe.each<[string, () => Promise<Device>]>([
  ["reference", () => Promise.resolve(referenceDevice())],
  ["wasm", () => open("wasm", { threads: 1 })],
])("long graphs on %s", (_name, make) => {
  const outer = currentDevice()
  let device: Device
  beforeAll(async () => void useDevice((device = await make())))
  afterAll(async () => {
    useDevice(outer)
    await device.close()
  })

  test("a long chain of cheap ops is cut into kernels, and has gradients", async () => {
    const x = tensor([1, 2, 3])
    let y: Tensor = x
    for (let i = 0; i < 5000; i++) y = y.add(x)
    expect(await y.tolist()).toEqual([5001, 10002, 15003])
    expect(await grad(y.sum(), [x])[0]!.tolist()).toEqual([5001, 5001, 5001])
  })
  test("a long chain of ops with long expressions, too", async () => {
    const x = tensor([0.1, 0.2, 0.3])
    let y = x, z = x
    for (let i = 0; i < 200; i++) {
      y = sigmoid(y)
      z = erf(z)
    }
    for (const v of await y.data()) expect(v).toBeCloseTo(0.659046, 5)
    expect((await z.data()).every((v) => v > 0.6174 && v < 0.6176)).toBe(true)
  })
  test("short chains stay one kernel", () => {
    let y = tensor([1, 2, 3])
    for (let i = 0; i < 30; i++) y = y.add(i)
    expect(explain(y)).toContain("places: none")
  })
  test("thousands of tensors are joined in order", async () => {
    const parts = Array.from({ length: 5000 }, (_, i) => tensor([i, -i]))
    const all = await cat(parts).data()
    expect(all.length).toBe(10_000)
    expect([all[128], all[8191], all[9999]]).toEqual([64, -4095, -4999])
  })
})
