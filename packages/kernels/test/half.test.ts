import { afterAll, beforeAll, expect, test } from "vitest"
import { referenceDevice, uploadParts, useDevice, withDevice, type Device } from "@thimble/core"
import { open } from "../src/index.ts"

let wasm: Device
beforeAll(async () => { wasm = await open("wasm", { threads: 1 }) })
afterAll(async () => {
  useDevice(referenceDevice())
  await wasm.close()
})

const every = Uint16Array.from({ length: 65536 }, (_, i) => i)

for (const dtype of ["f16", "bf16"] as const)
  for (const [how, shape] of [["four at a time", [65536]], ["one at a time", [21845, 3]]] as const)
    test(`every ${dtype}, infinities and NaNs too, is the f32 of that value: ${how}`, async () => {
      const read = (device: Device): Promise<ArrayLike<number>> => withDevice(device, () => {
        const x = uploadParts({ x: { data: every.slice(0, shape.reduce((a, b) => a * b, 1)), shape, dtype } }).x!
        // Columns that are apart in memory are no vectors.
        return (shape.length === 1 ? x : x.flip(1)).cast("f32").data()
      })
      const want = await read(referenceDevice()), got = await read(wasm)
      for (let i = 0; i < want.length; i++) if (!Object.is(got[i], want[i])) expect(`${i}: ${got[i]}`).toBe(`${i}: ${want[i]}`)
    })
