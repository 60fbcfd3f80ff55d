// Opens the webgpu device for tests of its templates, beside the reference device they are compared with.
import { afterAll, beforeAll, beforeEach, expect } from "vitest"
import { random, referenceDevice, useDevice, withDevice, type Device, type Tensor } from "@thimble/core"
import { devices } from "../src/index.ts"
import type { AdapterOptions } from "../src/webgpu/instance.ts"
import { webgpuDevice, type WebgpuDevice } from "../src/webgpu/device.ts"

export type Data = Float32Array
export const reference = referenceDevice()
const opened: WebgpuDevice[] = []
/** The device, once the tests run. */
export const gpu = (): WebgpuDevice => opened[0]!

/** Opens the device before the tests of a file, and closes it after them. Where there is none they are skipped; unattended runs must have it. */
export function withGpu(options: AdapterOptions = {}): void {
  let missing: string | undefined
  beforeAll(async () => {
    const found = (await devices()).find((d) => d.name === "webgpu")!
    if (!found.available && process.env.CI === undefined) missing = `webgpu: ${found.reason}`
    else opened.push(await webgpuDevice(options))
  })
  beforeEach(({ skip }) => skip(missing !== undefined, missing))
  afterAll(async () => {
    useDevice(reference)
    await opened.pop()?.close()
  })
}

export const normal = async (seed: number, n: number): Promise<Data> => withDevice(reference, () => random.normal(random.key(seed), [n]).data()) as Promise<Data>

/** The law: what the expansion gives on the reference device, within a part of the largest value. */
export async function check(make: () => Tensor, tolerance = 4e-6, absolute = 0): Promise<Data> {
  const run = (device: Device): Promise<Data> => withDevice(device, () => make().data()) as Promise<Data>
  const want = await run(reference), got = await run(gpu())
  const scale = want.reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), 0)
  const bad = got.findIndex((v, i) => !(Object.is(v, want[i]) || v === want[i] || Math.abs(v - want[i]!) <= tolerance * scale + absolute))
  expect(bad < 0 ? "" : `[${bad}] ${got[bad]} instead of ${want[bad]}`).toBe("")
  expect(got.length).toBe(want.length)
  return got
}
