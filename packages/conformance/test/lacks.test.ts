import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { add, referenceDevice, tensor, useDevice, type Device } from "@thimble/core"
import { kernelDevices } from "../src/devices.ts"
import { rows } from "../src/table/index.ts"

// What a device is said to lack, it lacks: a skip that is not needed fails. Subnormal numbers are a matter of the driver, which may have them.
describe.each(kernelDevices)("what $name is said to lack", ({ open, f64 = true, unsupported = {} }) => {
  let device: Device
  beforeAll(async () => void useDevice((device = await open())))
  afterAll(async () => {
    useDevice(referenceDevice())
    await device.close()
  })
  test(f64 ? "not f64" : "f64, which it stores and moves, and refuses to compute with", async () => {
    const x = tensor([0.1, -2], { dtype: "f64" })
    expect([...await (await x.to(referenceDevice())).data()]).toEqual([0.1, -2])
    const sum = add(x, 1).data()
    if (f64) expect([...await sum]).toEqual([0.1 + 1, -1])
    else await expect(sum).rejects.toMatchObject({ code: "dtype", message: expect.stringContaining("has no f64") as unknown })
  })
  test("ops", () => {
    expect(Object.keys(unsupported).filter((op) => !rows.some(([name]) => name === op))).toEqual([])
  })
})
