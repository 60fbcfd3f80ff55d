import { referenceDevice, type Device } from "@thimble/core"

/** A device that the conformance suite runs on. What it cannot do is a skip with its reason. */
export interface DeviceRow {
  readonly name: string
  open(): Device | Promise<Device>
  /** Golden op or case → why this device does not run it. */
  readonly skips?: Readonly<Record<string, string>>
}

export const devices: readonly DeviceRow[] = [
  { name: "reference", open: () => referenceDevice() },
]
