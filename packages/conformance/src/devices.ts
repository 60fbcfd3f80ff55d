import { referenceDevice } from "@thimble/core"
import { devices as found, open } from "@thimble/kernels"
import { wasmDevice } from "../../kernels/src/wasm/device.ts"
import type { DeviceRow } from "./abilities.ts"

export { argumentsFor, casesFor, cornersFor, recordedFor, sharedBy, type DeviceRow } from "./abilities.ts"

/** Tests run in Node, or on a page. */
type Place = "Node" | "pages"
const onPage = typeof document === "object"
const here: Place = onPage ? "pages" : "Node"

/** A device, and what of the suite it is tried with. */
export interface TestedDevice extends DeviceRow {
  readonly places: readonly Place[]
  /** Ops are compared one by one only: it shares most code with another device. */
  readonly opsOnly?: boolean
}

const both: readonly Place[] = ["Node", "pages"]
/** For shaders that a driver without a GPU compiles, and for what shares its sources with another device. */
const few = { share: 0.1, corners: 1, recorded: 1 } as const
const tiny = "results below the normal numbers may be zero"
/** A GPU that is reached by shaders: no f64, and nothing below the normal numbers. */
const shaders = { f64: false, subnormals: false, skips: { "mul.6": tiny, "div.6": tiny, "atan2.1": tiny } } as const

/** Every device that is tested anywhere. */
export const table: readonly TestedDevice[] = [
  { name: "reference", places: both, open: () => referenceDevice() },
  { name: "wasm", places: both, open: () => open("wasm", { threads: 2 }) },
  // One thread shares its memory with nobody.
  { name: "wasm, one thread, no revectorizer", places: both, open: () => open("wasm", { threads: 1, revectorize: false }) },
  { name: "gpujs", places: both, open: () => open("gpujs", { mode: "webasm" }), f64: false, ...(onPage && few) },
  { name: "gpujs, as JavaScript", places: both, open: () => open("gpujs", { mode: "cpu" }), f64: false, ...few },
  { name: "webgpu", places: both, open: () => open("webgpu"), ...shaders, ...(onPage ? few : { share: 0.3 }) },
  { name: "gpujs, WebGL2", places: ["pages"], open: () => open("gpujs", { mode: "webgl2" }), ...shaders, ...few },
  { name: "gpujs, WebGPU", places: ["pages"], open: () => open("gpujs", { mode: "webgpu" }), ...shaders, ...few },
  { name: "wasm, one thread, revectorizer", places: ["Node"], opsOnly: true, open: () => open("wasm", { threads: 1, revectorize: true }) },
  { name: "wasm, one thread, no relaxed SIMD", places: both, opsOnly: true, open: () => wasmDevice({ threads: 1, features: { relaxed: false, wide: false }, maximumPages: 65536 }) },
]

/** Where there is no WebGPU the tests say so, and why; unattended runs must have it. */
async function isHere({ name, places }: TestedDevice): Promise<boolean> {
  if (!places.includes(here)) return false
  if (name !== "webgpu" || process.env.CI !== undefined) return true
  const webgpu = (await found()).find((d) => d.name === "webgpu")!
  if (!webgpu.available) console.warn(`Not tested on webgpu: ${webgpu.reason}`)
  return webgpu.available
}
const tested = (await Promise.all(table.map(async (row) => ((await isHere(row)) ? [row] : [])))).flat()

export const devices: readonly TestedDevice[] = tested.filter((row) => row.opsOnly !== true)
export const variants: readonly TestedDevice[] = tested.filter((row) => row.opsOnly === true)
