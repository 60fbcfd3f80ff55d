import { fail, referenceDevice, useDevice, type Device } from "@thimble/core"
import { detectFeatures } from "./wasm/features.ts"
import { wasmDevice } from "./wasm/device.ts"

export interface OpenOptions {
  /** Threads of the CPU device, the caller's included; as many as there are processors unless given. */
  readonly threads?: number
  /** V8's pairing of 128-bit operations into 256-bit ones: on when a probe shows equal bits and a gain, unless set. */
  readonly revectorize?: boolean
}

const kinds: Record<string, (options: OpenOptions) => Promise<Device>> = {
  reference: () => Promise.resolve(referenceDevice()),
  async wasm({ threads, revectorize }) {
    const features = await detectFeatures(revectorize)
    const shared = typeof SharedArrayBuffer === "function" && (globalThis.crossOriginIsolated ?? true)
    const available = await processors()
    const count = threads ?? available
    if (!Number.isInteger(count) || count < 1 || count > 256) fail("value", "open", `threads must be a whole number from 1 to 256, got ${count}`)
    return wasmDevice({ threads: shared ? count : 1, shared, features, maximumPages: 65536 })
  },
}

async function processors(): Promise<number> {
  if (typeof process === "object" && process.versions?.node) return (await import("node:os")).availableParallelism()
  return globalThis.navigator?.hardwareConcurrency ?? 1
}

/** Opens a device by name, makes it the current one, and returns it. */
export async function open(name: string, options: OpenOptions = {}): Promise<Device> {
  const make = Object.hasOwn(kinds, name) ? kinds[name]! : fail("device", "open", `no device '${String(name)}'`, `one of ${Object.keys(kinds).join(", ")}`)
  const stranger = Object.keys(options).find((k) => k !== "threads" && k !== "revectorize")
  if (stranger !== undefined) fail("value", "open", `has no option '${stranger}'`, "options are threads and revectorize")
  return useDevice(await make(options))
}
