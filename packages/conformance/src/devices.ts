import { referenceDevice, type Device } from "@thimble/core"
import { open } from "@thimble/kernels"
import { wasmDevice } from "../../kernels/src/wasm/device.ts"
import type { OpName } from "./table/index.ts"
import { withoutF64 } from "./table/spec.ts"

/** A device that the conformance suite runs on. What it cannot do is a skip with its reason. */
export interface DeviceRow {
  readonly name: string
  open(): Device | Promise<Device>
  /** Whether it has f64; all do unless it says so. Without, f32 stands in wherever f64 would be drawn. */
  readonly f64?: false
  /** Golden op or case → why this device does not run it. */
  readonly skips?: Readonly<Record<string, string>>
  /** Op of the table → why this device does not run it. */
  readonly unsupported?: Readonly<Partial<Record<OpName, string>>>
}

export const devices: readonly DeviceRow[] = [
  { name: "reference", open: () => referenceDevice() },
  { name: "wasm", open: () => open("wasm", { threads: 2 }) },
  // One thread shares its memory with nobody.
  { name: "wasm, one thread, no revectorizer", open: () => open("wasm", { threads: 1, revectorize: false }) },
  // As WebAssembly in Node, through WebGL2 on pages.
  { name: "gpujs", open: () => open("gpujs"), f64: false },
]
/** On these, ops are compared one by one only: they share most code with a device above. */
export const variants: readonly DeviceRow[] = [
  { name: "wasm, one thread, no relaxed SIMD", open: () => wasmDevice({ threads: 1, features: { relaxed: false, wide: false }, maximumPages: 65536 }) },
  { name: "gpujs, as JavaScript", open: () => open("gpujs", { mode: "cpu" }), f64: false },
]

/** What a device is tried with in place of these arguments. */
export const argumentsFor = <A>({ f64 = true }: DeviceRow, args: A): A => (f64 ? args : withoutF64(args))
/** The name under which devices that are tried with the same arguments share what is expected. */
export const sharedBy = ({ f64 = true }: DeviceRow, op: string): string => (f64 ? op : `${op} without f64`)
