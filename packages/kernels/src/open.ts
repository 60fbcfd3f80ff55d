import { fail, referenceDevice, useDevice, type Device } from "@thimble/core"
import { detectFeatures } from "./wasm/features.ts"
import { wasmDevice } from "./wasm/device.ts"
import { webgpuDevice, type GpuDevice } from "./webgpu/device.ts"
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

const mostThreads = 256

/** What each option must be, and whether a value is. */
const demands: Readonly<Record<keyof OpenOptions, readonly [what: string, holds: (value: unknown) => boolean]>> = {
  threads: [`a whole number from 1 to ${mostThreads}`, (v) => Number.isInteger(v) && (v as number) >= 1 && (v as number) <= mostThreads],
  revectorize: ["true or false", (v) => typeof v === "boolean"],
  mode: [`one of ${gpujsModes.join(", ")}`, (v) => gpujsModes.includes(v as GpujsMode)],
  adapter: ["a part of the name of an adapter", (v) => typeof v === "string"],
  powerPreference: ["low-power or high-performance", (v) => v === "low-power" || v === "high-performance"],
}
const optionNames = Object.keys(demands)

/** Refuses options that no device has, and values that make no sense, whether or not a device will look at them. */
export function checkOptions(op: string, options: OpenOptions): void {
  if (typeof options !== "object" || options === null) fail("value", op, `options are an object, got ${String(options)}`)
  for (const [name, value] of Object.entries(options)) {
    if (!optionNames.includes(name)) fail("value", op, `has no option '${name}'`, `options are ${optionNames.join(", ")}`)
    const [what, holds] = demands[name as keyof OpenOptions]
    if (value !== undefined && !holds(value)) fail("value", op, `${name} must be ${what}, got ${String(value)}`)
  }
}

const kinds: Record<string, (options: OpenOptions) => Promise<Device>> = {
  reference: () => Promise.resolve(referenceDevice()),
  async wasm({ threads, revectorize }) {
    const wanted = threads ?? Math.min(globalThis.navigator?.hardwareConcurrency ?? 1, mostThreads)
    return wasmDevice({ threads: canShareMemory() ? wanted : 1, features: await detectFeatures(revectorize), maximumPages: 65536 })
  },
  webgpu: ({ adapter, powerPreference }) => webgpuDevice({ ...(adapter !== undefined && { adapter }), ...(powerPreference !== undefined && { powerPreference }) }),
  gpujs: ({ mode }) => gpujsDevice({ ...(mode !== undefined && { mode }) }),
}

/** Pages may share memory only if they are cross-origin isolated; outside of browsers nobody asks. */
const canShareMemory = (): boolean => typeof SharedArrayBuffer === "function" && (globalThis.crossOriginIsolated ?? true)

/** Opens a device by name, makes it the current one, and returns it; `webgpu` tells what its adapter is and has. */
export function open(name: "webgpu", options?: OpenOptions): Promise<GpuDevice>
export function open(name: string, options?: OpenOptions): Promise<Device>
export async function open(name: string, options: OpenOptions = {}): Promise<Device> {
  const make = Object.hasOwn(kinds, name) ? kinds[name]! : fail("device", "open", `no device '${String(name)}'`, `one of ${Object.keys(kinds).join(", ")}`)
  checkOptions("open", options)
  return useDevice(await make(options))
}
