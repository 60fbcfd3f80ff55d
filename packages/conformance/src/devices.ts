import { referenceDevice } from "@thimble/core"
import { devices as found, open } from "@thimble/kernels"
import { wasmDevice } from "../../kernels/src/wasm/device.ts"
import { webgpuDevice } from "../../kernels/src/webgpu/device.ts"
import type { DeviceRow } from "./abilities.ts"

export { argumentsFor, casesFor, cornersFor, sharedBy, type DeviceRow } from "./abilities.ts"

/** Where there is no WebGPU the tests say so, and why; unattended runs must have it. */
async function webgpuRows(): Promise<DeviceRow[]> {
  const webgpu = (await found()).find((d) => d.name === "webgpu")!
  if (!webgpu.available && process.env.CI === undefined) {
    console.warn(`Not tested on webgpu: ${webgpu.reason}`)
    return []
  }
  // A driver that runs on the CPU compiles slowly.
  const tiny = "results below the normal numbers may be zero"
  return [{ name: "webgpu", open: () => open("webgpu"), f64: false, subnormals: false, share: 0.3, skips: { "mul.6": tiny, "div.6": tiny, "atan2.1": tiny } }]
}

/** Tests run in Node, or on a page: there with few cases, for shaders that a driver without a GPU compiles. */
const onPage = typeof document === "object"
const few = { share: 0.1, corners: 1 } as const
const webgpu = await webgpuRows()

export const devices: readonly DeviceRow[] = [
  { name: "reference", open: () => referenceDevice() },
  { name: "wasm", open: () => open("wasm", { threads: 2 }) },
  // One thread shares its memory with nobody.
  { name: "wasm, one thread, no revectorizer", open: () => open("wasm", { threads: 1, revectorize: false }) },
  { name: "gpujs", open: () => open("gpujs", { mode: "webasm" }), f64: false, ...(onPage && few) },
  ...(onPage ? [] : webgpu),
]
/** On these, ops are compared one by one only: they share most code with a device above. */
export const variants: readonly DeviceRow[] = [
  { name: "wasm, one thread, no relaxed SIMD", open: () => wasmDevice({ threads: 1, features: { relaxed: false, wide: false }, maximumPages: 65536 }) },
  { name: "gpujs, as JavaScript", open: () => open("gpujs", { mode: "cpu" }), f64: false, ...(onPage && few) },
  ...(onPage ? [
    ...webgpu.map((row) => ({ ...row, ...few })),
    { name: "gpujs, WebGL2", open: () => open("gpujs", { mode: "webgl2" }), f64: false, subnormals: false, ...few },
    { name: "gpujs, WebGPU", open: () => open("gpujs", { mode: "webgpu" }), f64: false, subnormals: false, ...few },
  ] : webgpu.map((row): DeviceRow => ({ ...row, ...few, name: "webgpu, memory in windows", open: () => webgpuDevice({ features: { bindingBytes: 256 } }) }))),
]
