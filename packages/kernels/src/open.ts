import { fail, referenceDevice, useDevice, type Device } from "@thimble/core"
import { detectFeatures } from "./wasm/features.ts"
import { wasmDevice } from "./wasm/device.ts"
import { webgpuDevice } from "./webgpu/device.ts"
import { gpujsDevice } from "./gpujs/device.ts"
import { gpujsModes, type GpujsMode } from "./gpujs/library.ts"

export interface OpenOptions {
  /** Threads of the CPU device, the caller's included; as many as there are processors unless given. One where memory cannot be shared. */
  readonly threads?: number
  /** V8's pairing of 128-bit operations into 256-bit ones: on when a probe shows equal bits and a gain, unless set. */
  readonly revectorize?: boolean
  /** A part of the name of the WebGPU adapter, in any case; the first that has it. */
  readonly adapter?: string
  /** Which WebGPU adapter, where there are several. */
  readonly powerPreference?: "low-power" | "high-performance"
  /** How gpu.js runs kernels: WebGL2 where there is a page that has it, else as WebAssembly, unless given. */
  readonly mode?: GpujsMode
}

const kinds: Record<string, (options: OpenOptions) => Promise<Device>> = {
  reference: () => Promise.resolve(referenceDevice()),
  async wasm({ threads, revectorize }) {
    const wanted = threads ?? globalThis.navigator?.hardwareConcurrency ?? 1
    if (!Number.isInteger(wanted) || wanted < 1 || wanted > 256) fail("value", "open", `threads must be a whole number from 1 to 256, got ${wanted}`)
    return wasmDevice({ threads: canShareMemory() ? wanted : 1, features: await detectFeatures(revectorize), maximumPages: 65536 })
  },
  webgpu: ({ adapter, powerPreference }) => webgpuDevice({ ...(adapter !== undefined && { adapter }), ...(powerPreference !== undefined && { powerPreference }) }),
  async gpujs({ mode }) {
    if (mode !== undefined && !gpujsModes.includes(mode)) fail("value", "open", `mode must be one of ${gpujsModes.join(", ")}, got ${String(mode)}`)
    return gpujsDevice({ mode })
  },
}

const optionNames = Object.keys({ threads: 0, revectorize: 0, mode: 0, adapter: 0, powerPreference: 0 } satisfies Record<keyof OpenOptions, unknown>)

/** Pages may share memory only if they are cross-origin isolated; outside of browsers nobody asks. */
const canShareMemory = (): boolean => typeof SharedArrayBuffer === "function" && (globalThis.crossOriginIsolated ?? true)

/** Opens a device by name, makes it the current one, and returns it. */
export async function open(name: string, options: OpenOptions = {}): Promise<Device> {
  const make = Object.hasOwn(kinds, name) ? kinds[name]! : fail("device", "open", `no device '${String(name)}'`, `one of ${Object.keys(kinds).join(", ")}`)
  const stranger = Object.keys(options).find((k) => !optionNames.includes(k))
  if (stranger !== undefined) fail("value", "open", `has no option '${stranger}'`, `options are ${optionNames.join(", ")}`)
  return useDevice(await make(options))
}
