import { referenceDevice, type Device } from "@thimble/core"
import { open } from "@thimble/kernels"
import { wasmDevice } from "../../kernels/src/wasm/device.ts"
import type { OpName } from "./table/index.ts"

/** A device that the conformance suite runs on. What it cannot do is a skip with its reason. */
export interface DeviceRow {
  readonly name: string
  open(): Device | Promise<Device>
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
]
/** On these, ops are compared one by one only: they share most code with a device above. */
export const variants: readonly DeviceRow[] = [
  { name: "wasm, one thread, no relaxed SIMD", open: () => wasmDevice({ threads: 1, features: { relaxed: false, wide: false }, maximumPages: 65536 }) },
]
