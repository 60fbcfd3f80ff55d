// What libraries for browsers look for, in Node: Dawn as navigator.gpu, with the options that Thimble opens it with.
interface Dawn { create(options: string[]): GPU; readonly globals: object }

/** What became of WebGPU under a library. */
export interface Watched {
  /** Waits for all that was submitted to the devices it opened. */
  wait(): Promise<void>
  /** What a device complained of since the last call. */
  complaints(): readonly string[]
}

/** Gives the process a navigator.gpu, and watches which devices come of it. Call it before importing a library. */
export async function actAsBrowser(): Promise<Watched> {
  const name = "webgpu" // no bundler is to follow it
  const { create, globals } = (await import(name)) as Dawn
  Object.assign(globalThis, globals)
  const gpu = create(["enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia", "disable-dawn-features=timestamp_quantization"])
  const devices = new Set<GPUDevice>(), complaints: string[] = []
  const requestAdapter = gpu.requestAdapter.bind(gpu)
  const watch = (adapter: GPUAdapter): GPUAdapter => {
    const requestDevice = adapter.requestDevice.bind(adapter)
    return Object.assign(adapter, {
      async requestDevice(descriptor?: GPUDeviceDescriptor) {
        const device = await requestDevice(descriptor)
        device.addEventListener("uncapturederror", ({ error }) => complaints.push(error.message))
        void device.lost.then(({ reason, message }) => {
          devices.delete(device)
          if (reason !== "destroyed") complaints.push(`device lost: ${message}`) // its library has no more use for the others
        })
        devices.add(device)
        return device
      },
    })
  }
  Object.assign(gpu, {
    async requestAdapter(options?: GPURequestAdapterOptions) {
      const adapter = await requestAdapter({ ...options, powerPreference: "high-performance" })
      return adapter === null ? null : watch(adapter)
    },
  })
  Object.defineProperty(navigator, "gpu", { value: gpu })
  return {
    wait: async () => void (await Promise.all([...devices].map((device) => device.queue.onSubmittedWorkDone()))),
    complaints: () => complaints.splice(0),
  }
}
