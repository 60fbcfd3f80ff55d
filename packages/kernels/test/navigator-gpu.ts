import { tensor, withDevice, type Device } from "@thimble/core"

/** The process dies if it is collected while a device of it lives. */
let dawn: GPU | undefined

/**
 * Opens a device that looks for `navigator.gpu`, as gpu.js does until its first kernel is built. Node has none: there it is Dawn's meanwhile. A
 * program that wants it so does the same.
 */
export async function withNavigatorGpu(open: () => Promise<Device>): Promise<Device> {
  if (typeof navigator === "object" && "gpu" in navigator) return open()
  const name = "webgpu" // No bundler is to follow it, and no page to fetch it.
  const { create, globals } = (await import(/* @vite-ignore */ name)) as { create(options: string[]): GPU; globals: object }
  Object.assign(globalThis, globals)
  Object.defineProperty(navigator, "gpu", { value: (dawn ??= create([])), configurable: true })
  try {
    const device = await open()
    using x = withDevice(device, () => tensor([1]))
    await x.add(1).data()
    return device
  } finally {
    Reflect.deleteProperty(navigator, "gpu")
  }
}
