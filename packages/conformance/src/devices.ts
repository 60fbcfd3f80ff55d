import { referenceDevice, ThimbleError } from "@thimble/core"
import { devices as found, open } from "@thimble/kernels"
import { wasmDevice } from "../../kernels/src/wasm/device.ts"
import { webgpuDevice } from "../../kernels/src/webgpu/device.ts"
import { withNavigatorGpu } from "../../kernels/test/navigator-gpu.ts"
import type { DeviceRow } from "./abilities.ts"

export { argumentsFor, casesFor, cornersFor, recordedFor, sharedBy, type DeviceRow } from "./abilities.ts"

/** Tests run in Node, or on a page. */
export type Place = "Node" | "pages"
const onPage = typeof document === "object"
const here: Place = onPage ? "pages" : "Node"

/**
 * What of the suite a device is tried with: `ops` one by one, and formulas of special values; `kernels` are those, gradients, formats of
 * weights and the demo model; everything is also random numbers, and recorded values of ops and optimizers.
 */
export type Part = "everything" | "kernels" | "ops"
/** A device, and where it is tried with what. */
export interface TestedDevice extends DeviceRow {
  readonly tried: Readonly<Partial<Record<Place, Part>>>
  /** It is where that device is. */
  readonly needs?: "webgpu"
}

const everywhere = { Node: "everything", pages: "everything" } as const
/** For shaders that a driver without a GPU compiles, and for what shares its sources with another device. */
const few = { share: 0.1, corners: 1, recorded: 1 } as const
/** A GPU that is reached by shaders. */
const shader = { f64: false, subnormals: false } as const
const tiny = "results below the normal numbers may be zero"

/** Every device that is tested anywhere. */
export const table: readonly TestedDevice[] = [
  { name: "reference", tried: everywhere, open: () => referenceDevice() },
  { name: "wasm", tried: everywhere, open: () => open("wasm", { threads: 2 }) },
  // One thread shares its memory with nobody.
  { name: "wasm, one thread, no revectorizer", tried: everywhere, open: () => open("wasm", { threads: 1, revectorize: false }) },
  { name: "gpujs", tried: everywhere, open: () => open("gpujs", { mode: "webasm" }), f64: false, ...(onPage && few) },
  { name: "gpujs, as JavaScript", tried: everywhere, open: () => open("gpujs", { mode: "cpu" }), f64: false, ...few },
  { name: "webgpu", tried: { Node: "everything", pages: "kernels" }, open: () => open("webgpu"), needs: "webgpu", ...shader, skips: { "mul.6": tiny, "div.6": tiny, "atan2.1": tiny }, ...(onPage ? few : { share: 0.3 }) },
  { name: "gpujs, WebGL2", tried: { pages: "kernels" }, open: () => open("gpujs", { mode: "webgl2" }), ...shader, ...few },
  { name: "gpujs, WebGPU", tried: { Node: "ops", pages: "kernels" }, open: () => withNavigatorGpu(() => open("gpujs", { mode: "webgpu" })), needs: "webgpu", ...shader, ...few },
  { name: "wasm, one thread, revectorizer", tried: { Node: "ops" }, open: () => open("wasm", { threads: 1, revectorize: true }) },
  { name: "wasm, one thread, no relaxed SIMD", tried: { Node: "ops", pages: "ops" }, open: () => wasmDevice({ threads: 1, features: { relaxed: false, wide: false }, maximumPages: 65536 }) },
  { name: "webgpu, memory in windows", tried: { Node: "ops" }, open: () => webgpuDevice({ features: { bindingBytes: 256 } }), needs: "webgpu", mayRefuse: (e) => e instanceof ThimbleError && e.code === "memory", ...shader, ...few },
]

/** Where there is no WebGPU the tests say so, and why; unattended runs must have it. */
async function isHere({ name, tried, needs }: TestedDevice): Promise<boolean> {
  if (tried[here] === undefined) return false
  if (needs === undefined || process.env.CI !== undefined) return true
  const webgpu = (await found()).find((d) => d.name === "webgpu")!
  if (!webgpu.available) console.warn(`Not tested on ${name}: ${webgpu.reason}`)
  return webgpu.available
}
const tested = (await Promise.all(table.map(async (row) => ((await isHere(row)) ? [row] : [])))).flat()
const triedWith = (...parts: readonly Part[]): readonly TestedDevice[] => tested.filter(({ tried }) => parts.includes(tried[here]!))

/** Devices that are tried with everything here, the reference device first. */
export const devices = triedWith("everything")
/** Those whose kernels are tried in all ways. */
export const kernelDevices = triedWith("everything", "kernels")
/** All there are: ops one by one. */
export const opDevices = triedWith("everything", "kernels", "ops")
