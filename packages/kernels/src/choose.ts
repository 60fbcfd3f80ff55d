import { fail, ThimbleError, type Device } from "@thimble/core"
import { startLibrary } from "./gpujs/library.ts"
import { checkOptions, open, type OpenOptions } from "./open.ts"
import { adapterName, findAdapter, isSoftware } from "./webgpu/instance.ts"

/** A device by the name that `open` takes, and what it would run on, or why it cannot be opened here. */
export type DeviceInfo =
  | { readonly name: string; readonly available: true; readonly on: string; /** Whether a processor of its own computes. */ readonly accelerated: boolean }
  | { readonly name: string; readonly available: false; readonly reason: string }

/** The fastest first. */
const finders: Record<string, (options: OpenOptions) => Promise<{ readonly on: string; readonly accelerated: boolean }>> = {
  async webgpu(options) {
    const { adapter } = await findAdapter(options)
    return { on: adapterName(adapter), accelerated: !isSoftware(adapter) }
  },
  wasm: () => (typeof WebAssembly === "object" ? here("WebAssembly") : fail("device", "open", "there is no WebAssembly here")),
  async gpujs({ mode: wanted }) {
    const { gpu, mode } = await startLibrary(wanted)
    await gpu.destroy()
    return here(`gpu.js, mode ${mode}`)
  },
  reference: () => here("JavaScript"),
}
const here = (on: string) => Promise.resolve({ on, accelerated: false })

async function look(name: string, options: OpenOptions): Promise<DeviceInfo> {
  try {
    return { name, available: true, ...(await finders[name]!(options)) }
  } catch (e) {
    if (!(e instanceof ThimbleError)) throw e
    return { name, available: false, reason: e.message }
  }
}

/** What can be opened here, the fastest first, and why the rest cannot. */
export const devices = (): Promise<DeviceInfo[]> => Promise.all(Object.keys(finders).map((name) => look(name, {})))

/**
 * Opens the fastest device there is, and makes it the current one: a GPU, or else the CPU through WebAssembly; its `name` tells which. A
 * software driver of a GPU is slower than that, and passed over. With `adapter`, only an adapter of that name counts as a GPU.
 */
export async function best(options: OpenOptions = {}): Promise<Device> {
  checkOptions("best", options)
  for (const name of Object.keys(finders)) {
    const found = await look(name, options)
    if (found.available && (found.accelerated || name !== "webgpu")) return open(name, options)
  }
  return fail("device", "best", "nothing can be opened here")
}
