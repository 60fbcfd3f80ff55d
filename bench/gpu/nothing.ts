// Dawn's null backend as a large card: it computes nothing, so what is left is what the host does. It has no card's limits, so the text
// of every kernel is checked, and an empty one stands for it; of buffers beyond eight it is told that they are uniform.
import { webgpuDevice } from "../../packages/kernels/src/webgpu/device.ts"
import type { Features } from "../../packages/kernels/src/wgsl/template/holes.ts"
import type { GpuDevice } from "./part.ts"

/** What an H100 has through Dawn's Vulkan backend. */
const large: Partial<Features> = {
  software: false, half: true, subgroup: { least: 32, most: 32 }, packedDot: true, matrices: [{ m: 16, n: 16, k: 16, component: "f16", result: "f32" }], sharedBytes: 49152, threads: 1024, bindings: 16,
  numbers: { contracts: true, fuses: true, exactDivision: false, exactRoot: false, exactHalves: true },
}
const storage = 0x80, uniform = 0x40, mostStorage = 8, mostUniformBytes = 65536

/** `invalid` is what the checks found. */
export async function nothing(): Promise<{ device: GpuDevice; invalid: readonly string[] }> {
  const device = await webgpuDevice({ dawn: ["backend=null"], merges: true, features: large }), { gpu } = device, invalid: string[] = []
  const original = {
    module: gpu.createShaderModule.bind(gpu), layout: gpu.createBindGroupLayout.bind(gpu), group: gpu.createBindGroup.bind(gpu), buffer: gpu.createBuffer.bind(gpu),
  }
  gpu.createBuffer = (d) => original.buffer((d.usage & storage) === 0 ? d : { ...d, usage: d.usage | uniform })
  gpu.createShaderModule = ({ code }) => {
    void original.module({ code }).getCompilationInfo().then(({ messages }) => {
      for (const m of messages) if (m.type === "error") invalid.push(`${m.message} in ${code.split("\n")[m.lineNum - 1]}`)
    })
    return original.module({ code: "@compute @workgroup_size(1) fn main() {}" })
  }
  gpu.createBindGroupLayout = ({ entries }) => original.layout({ entries: Array.from(entries, (e) => (e.binding < mostStorage ? e : { ...e, buffer: { type: "uniform" as const } })) })
  gpu.createBindGroup = ({ layout, entries }) => original.group({
    layout, entries: Array.from(entries, ({ binding, resource }) => {
      const { buffer } = resource as GPUBufferBinding
      return { binding, resource: binding < mostStorage ? resource : { buffer, size: Math.min(mostUniformBytes, buffer.size) } }
    }),
  })
  return { device, invalid }
}
