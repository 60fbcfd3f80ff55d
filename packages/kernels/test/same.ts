import { afterAll, beforeAll, expect } from "vitest"
import { referenceDevice, useDevice, withDevice, type Device, type Tensor } from "@thimble/core"
import { open } from "../src/index.ts"

/** Opens the kinds of wasm device for a file's tests; the law that it returns: all give the reference device's elements, to the bit. */
export function sameOnEveryDevice(): (make: () => Tensor) => Promise<void> {
  const reference = referenceDevice(), devices: Device[] = []
  beforeAll(async () => {
    devices.push(await open("wasm", { threads: 1 }), await open("wasm", { threads: 3 }), await open("wasm", { threads: 1, revectorize: false }))
  })
  afterAll(async () => {
    useDevice(reference)
    for (const d of devices) await d.close()
  })
  return async (make) => {
    const want = await withDevice(reference, () => make().data())
    for (const device of devices) expect(await withDevice(device, () => make().data())).toEqual(want)
  }
}
