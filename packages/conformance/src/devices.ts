import { referenceDevice } from "@thimble/core"
import { devices as found, open } from "@thimble/kernels"
import { wasmDevice } from "../../kernels/src/wasm/device.ts"
import type { DeviceRow } from "./abilities.ts"

export { argumentsFor, casesFor, sharedBy, type DeviceRow } from "./abilities.ts"

/** Where there is no WebGPU the tests say so, and why; unattended runs must have it. */
async function webgpuRows(): Promise<DeviceRow[]> {
  const webgpu = (await found()).find((d) => d.name === "webgpu")!
  if (!webgpu.available && process.env.CI === undefined) {
    console.warn(`Not tested on webgpu: ${webgpu.reason}`)
    return []
  }
  // A driver that runs on the CPU compiles slowly.
  const tiny = "results below the normal numbers may be zero"
  return [{ name: "webgpu", open: () => open("webgpu"), f64: false, subnormals: false, share: 0.5, skips: { "mul.6": tiny, "div.6": tiny, "atan2.1": tiny } }]
}

export const devices: readonly DeviceRow[] = [
  { name: "reference", open: () => referenceDevice() },
  { name: "wasm", open: () => open("wasm", { threads: 2 }) },
  // One thread shares its memory with nobody.
  { name: "wasm, one thread, no revectorizer", open: () => open("wasm", { threads: 1, revectorize: false }) },
  // As WebAssembly in Node, through WebGL2 on pages.
  { name: "gpujs", open: () => open("gpujs"), f64: false },
  ...(await webgpuRows()),
]
/** On these, ops are compared one by one only: they share most code with a device above. */
export const variants: readonly DeviceRow[] = [
  { name: "wasm, one thread, no relaxed SIMD", open: () => wasmDevice({ threads: 1, features: { relaxed: false, wide: false }, maximumPages: 65536 }) },
  { name: "gpujs, as JavaScript", open: () => open("gpujs", { mode: "cpu" }), f64: false },
]
