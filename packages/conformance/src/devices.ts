import { referenceDevice, type Device } from "@thimble/core"
import { devices as found, open } from "@thimble/kernels"
import { wasmDevice } from "../../kernels/src/wasm/device.ts"
import type { OpName } from "./table/index.ts"
import { without, type Lacks } from "./table/spec.ts"

/** A device that the conformance suite runs on. What it cannot do is a skip with its reason. */
export interface DeviceRow {
  readonly name: string
  open(): Device | Promise<Device>
  /** Whether it has f64; all do unless it says so. Without, f32 stands in wherever f64 would be drawn. */
  readonly f64?: boolean
  /** Whether numbers below the normal ones of f32 are kept; all do unless it says so. Without, they may count as zero. */
  readonly subnormals?: boolean
  /** Share of the usual random cases that it is tried with. */
  readonly share?: number
  /** Golden op or case → why this device does not run it. */
  readonly skips?: Readonly<Record<string, string>>
  /** Op of the table → why this device does not run it. */
  readonly unsupported?: Readonly<Partial<Record<OpName, string>>>
}

/** Where there is no WebGPU the tests say so, and why; unattended runs must have it. */
async function webgpuRows(): Promise<DeviceRow[]> {
  const webgpu = (await found()).find((d) => d.name === "webgpu")!
  if (!webgpu.available && process.env.CI === undefined) {
    console.warn(`Not tested on webgpu: ${webgpu.reason}`)
    return []
  }
  // A driver that runs on the CPU compiles slowly.
  return [{ name: "webgpu", open: () => open("webgpu"), f64: false, subnormals: false, share: 0.5 }]
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

const lacks = ({ f64 = true, subnormals = true }: DeviceRow): Lacks => ({ f64: !f64, subnormals: !subnormals })
/** What a device is tried with in place of these arguments. */
export const argumentsFor = <A>(entry: DeviceRow, args: A): A => without(lacks(entry), args)
/** The name under which devices that are tried with the same arguments share what is expected. */
export const sharedBy = (entry: DeviceRow, op: string): string => `${op} ${JSON.stringify([lacks(entry), entry.share])}`
/** How many random cases a device is tried with where others are with `few`. */
export const casesFor = ({ share = 1 }: DeviceRow, few: number): number => Math.max(2, Math.round(few * share))
