// What the adapter can do, measured with the plainest kernels: the figures that all others are held against.
import type { Context, Part } from "./part.ts"
import { median } from "./time.ts"

const usage = { copySource: 0x4, copyTarget: 0x8, storage: 0x80 }

async function milliseconds({ device: { gpu }, tiny }: Context, code: string, buffers: readonly GPUBuffer[], groups: readonly [number, number]): Promise<number> {
  const pipeline = await gpu.createComputePipelineAsync({ layout: "auto", compute: { module: gpu.createShaderModule({ code }), entryPoint: "main" } })
  const group = gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })) })
  const run = async (times: number): Promise<number> => {
    const start = performance.now()
    const encoder = gpu.createCommandEncoder(), pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, group)
    for (let i = 0; i < times; i++) pass.dispatchWorkgroups(...groups)
    pass.end()
    gpu.queue.submit([encoder.finish()])
    await gpu.queue.onSubmittedWorkDone()
    return performance.now() - start
  }
  await run(1)
  if (tiny) return run(1)
  // Between many and few, what a submission costs falls away.
  const samples: number[] = []
  for (let i = 0; i < 5; i++) samples.push(((await run(24)) - (await run(4))) / 20)
  return median(samples)
}

async function copyRate(context: Context): Promise<number> {
  const { device: { gpu }, tiny } = context, bytes = tiny ? 2 ** 20 : 2 ** 30, each = 4
  const make = (): GPUBuffer => gpu.createBuffer({ size: bytes, usage: usage.storage | usage.copySource | usage.copyTarget })
  const [from, to] = [make(), make()], groups = bytes / 16 / 256 / each
  const lines = Array.from({ length: each }, (_, i) => `to[at + ${i * 256}u] = from_[at + ${i * 256}u];`).join("\n")
  const ms = await milliseconds(context, `@group(0) @binding(0) var<storage, read> from_: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> to: array<vec4<f32>>;
@compute @workgroup_size(256) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
let at = (group.y * ${Math.min(groups, 16384)}u + group.x) * ${256 * each}u + thread;
${lines}
}`, [from, to], [Math.min(groups, 16384), Math.max(1, groups / 16384)])
  from.destroy()
  to.destroy()
  return (2 * bytes) / ms / 1e6
}

/** Fused multiply-adds that need nothing but registers. */
async function arithmetic(context: Context, type: "f32" | "f16"): Promise<number> {
  const { device: { gpu }, tiny } = context, loops = tiny ? 2 : 512, groups = tiny ? 2 : 4096, chains = 8
  const each = (of: (i: number) => string): string => Array.from({ length: chains }, (_, i) => of(i)).join("\n")
  const out = gpu.createBuffer({ size: 4096, usage: usage.storage })
  const ms = await milliseconds(context, `${type === "f16" ? "enable f16;" : ""}
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(256) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
let seed = out[id.x & 1023u];
let x = vec4<${type}>(${type}(seed + 0.5));
let y = vec4<${type}>(${type}(seed + 0.25));
${each((i) => `var a${i} = vec4<${type}>(${type}(seed + ${i}f));`)}
for (var i = 0; i < ${loops}; i++) {
${each((i) => `a${i} = fma(a${i}, x, y);`).repeat(4)}
}
let all = ${Array.from({ length: chains }, (_, i) => `a${i}`).join(" + ")};
if (f32(all.x + all.y + all.z + all.w) == 12345f) { out[0] = 1f; }
}`, [out], [groups, 1])
  out.destroy()
  return (groups * 256 * loops * 4 * chains * 4 * 2) / ms / 1e9
}

export const ceilings: Part = {
  name: "the adapter",
  seconds: 20,
  async run(context) {
    const { device: { gpu, adapter, features }, ceilings: found, row } = context
    const limits = Object.fromEntries((["maxBufferSize", "maxStorageBufferBindingSize", "maxComputeWorkgroupStorageSize", "maxComputeInvocationsPerWorkgroup", "maxStorageBuffersPerShaderStage"] as const).map((name) => [name, gpu.limits[name]]))
    row("adapter", { name: adapter, features: [...gpu.features].join(" "), ...limits })
    row("what kernels choose by", { json: JSON.stringify(features) })
    found.copyGbs = await copyRate(context)
    found.f32Tflops = await arithmetic(context, "f32")
    if (gpu.features.has("shader-f16")) found.f16Tflops = await arithmetic(context, "f16")
    row("ceilings", { "copy GB/s": found.copyGbs, "f32 TFLOP/s": found.f32Tflops, "f16 TFLOP/s": found.f16Tflops })
  },
}
