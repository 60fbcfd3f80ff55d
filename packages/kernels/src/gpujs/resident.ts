// Numbers that stay on the GPU, from one kernel of gpu.js to the next. All get there by a kernel, so that every kernel takes
// the same kind of argument: gpu.js compiles one anew for another kind.
import type { Gpu, GpuKernel, GpujsMode, Handle, KernelSettings } from "./library.ts"

/** What a kernel takes for numbers that are on the GPU already. */
export const residentType = (mode: GpujsMode): "Array" | "ArrayTexture(1)" => (mode === "webgl2" ? "ArrayTexture(1)" : "Array")
/** Whether numbers can stay where kernels run; elsewhere they are the host's anyway. */
export const isResident = (mode: GpujsMode): boolean => mode === "webgl2" || mode === "webgpu"

const source = "function (p) { return p[this.thread.x]; }"

export class Residents {
  private readonly up: (numbers: Float32Array) => Promise<Handle>
  private readonly down: (handle: Handle, size: number) => Promise<Float32Array>
  private readonly held = new Set<Handle>()

  constructor(gpu: Gpu, mode: GpujsMode) {
    const settings = { dynamicArguments: true, dynamicOutput: true, precision: "single", fixIntegerDivisionAccuracy: false, asyncMode: true, tactic: "precision" } as const
    const mover = (own: Pick<KernelSettings, "argumentTypes" | "pipeline" | "immutable">): ((from: Float32Array | Handle, size: number) => Promise<unknown>) => {
      let kernel: GpuKernel | undefined
      return async (from, size) => {
        if (kernel === undefined) kernel = gpu.createKernel(source, { ...settings, ...own, output: [size] })
        else kernel.setOutput([size])
        return kernel(from)
      }
    }
    const upward = mover({ argumentTypes: { p: "Array" }, pipeline: true, immutable: true }), downward = mover({ argumentTypes: { p: residentType(mode) } })
    this.up = async (numbers) => this.hold((await upward(numbers, numbers.length)) as Handle)
    this.down = async (handle, size) => (await downward(handle, size)) as Float32Array
  }

  upload(numbers: Float32Array): Promise<Handle> {
    return this.up(numbers)
  }
  download(handle: Handle, size: number): Promise<Float32Array> {
    return this.down(handle, size)
  }
  /** Takes charge of what a kernel gave. */
  hold(handle: Handle): Handle {
    this.held.add(handle)
    return handle
  }
  drop(handle: Handle): void {
    if (!this.held.delete(handle)) return
    handle.delete()
    // A kernel that gpu.js has destroyed deletes its textures no longer.
    const { texture, context } = handle
    if (texture !== undefined && texture._refs === 0 && "deleteTexture" in context) context.deleteTexture(texture)
  }
  clear(): void {
    for (const handle of this.held) this.drop(handle)
  }
}
