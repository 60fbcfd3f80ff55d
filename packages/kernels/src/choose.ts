import { fail, ThimbleError, type Device } from "@thimble/core"
import { startLibrary } from "./gpujs/library.ts"
import { open, type OpenOptions } from "./open.ts"
import { adapterName, findAdapter, isSoftware } from "./webgpu/instance.ts"

/** A device by the name that `open` takes, and what it would run on, or why it cannot be opened here. */
export type DeviceInfo =
  | { readonly name: string; readonly available: true; readonly on: string; /** Whether a processor of its own computes. */ readonly accelerated: boolean }
  | { readonly name: string; readonly available: false; readonly reason: string }

const finders: Record<string, () => Promise<{ readonly on: string; readonly accelerated: boolean }>> = {
  async webgpu() {
    const { adapter } = await findAdapter({})
    return { on: adapterName(adapter), accelerated: !isSoftware(adapter) }
  },
  wasm: () => (typeof WebAssembly === "object" ? here("WebAssembly") : fail("device", "open", "there is no WebAssembly here")),
  async gpujs() {
    const { gpu, mode } = await startLibrary(undefined)
    await gpu.destroy()
    return here(`gpu.js, mode ${mode}`)
  },
  reference: () => here("JavaScript"),
}
const here = (on: string) => Promise.resolve({ on, accelerated: false })

/** What can be opened here, the fastest first, and why the rest cannot. */
export function devices(): Promise<DeviceInfo[]> {
  return Promise.all(Object.entries(finders).map(async ([name, find]): Promise<DeviceInfo> => {
    try {
      return { name, available: true, ...(await find()) }
    } catch (e) {
      if (!(e instanceof ThimbleError)) throw e
      return { name, available: false, reason: e.message }
    }
  }))
}

/** Opens the fastest device there is: a GPU, or else the CPU through WebAssembly. A software driver of a GPU is slower than that. */
export async function best(options: OpenOptions = {}): Promise<Device> {
  const found = (await devices()).filter((d) => d.available)
  const { name } = found.find((d) => d.accelerated) ?? found.find((d) => d.name === "wasm") ?? found[0]!
  return open(name, options)
}
