// How a driver computes is not part of WebGPU: it is tried out, on numbers of all sizes.
import { mapForReading, usage } from "./constants.ts"
import type { Numbers } from "../wgsl/template/holes.ts"

const count = 4096
const code = `
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let v = x[id.x];
  let joined = abs(v.x * v.y + v.z) + abs(v.z + v.x * v.y) + abs(v.z - v.x * -v.y) + abs(v.x * v.y - -v.z);
  y[id.x] = vec4<f32>(v.x / v.y, sqrt(abs(v.x)), joined, v.w * 0.5f + v.w * 0.5f);
}`

/** Normal numbers whose quotients and products are normal, too; w is below them. */
function inputs(): Float32Array {
  const x = new Float32Array(4 * count), words = new Uint32Array(x.buffer)
  let state = 1
  const random = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0)
  for (let i = 0; i < count; i++) {
    for (const k of [0, 1]) words[4 * i + k] = (random() & 0x80000000) | ((97 + (random() >>> 26)) << 23) | (random() >>> 9)
    x[4 * i + 2] = -x[4 * i]! * x[4 * i + 1]!
    words[4 * i + 3] = 2 * (1 + (random() >>> 10))
  }
  return x
}

export async function probeNumbers(device: GPUDevice): Promise<Numbers> {
  const x = inputs()
  const make = (uses: number): GPUBuffer => device.createBuffer({ size: x.byteLength, usage: uses })
  const source = make(usage.storage | usage.copyTarget), result = make(usage.storage | usage.copySource), staging = make(usage.mapRead | usage.copyTarget)
  try {
    device.queue.writeBuffer(source, 0, x as Float32Array<ArrayBuffer>)
    const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute: { module: device.createShaderModule({ code }) } })
    const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [source, result].map((buffer, binding) => ({ binding, resource: { buffer } })) }))
    pass.dispatchWorkgroups(count / 64)
    pass.end()
    encoder.copyBufferToBuffer(result, 0, staging, 0, x.byteLength)
    device.queue.submit([encoder.finish()])
    await staging.mapAsync(mapForReading)
    const y = new Float32Array(staging.getMappedRange().slice(0))
    staging.unmap()
    let exactDivision = true, exactRoot = true, contracts = false, flushes = false
    for (let i = 0; i < 4 * count; i += 4) {
      exactDivision &&= y[i] === Math.fround(x[i]! / x[i + 1]!)
      exactRoot &&= y[i + 1] === Math.fround(Math.sqrt(Math.abs(x[i]!)))
      contracts ||= y[i + 2] !== 0
      flushes ||= y[i + 3] !== x[i + 3]
    }
    return { exactDivision, exactRoot, contracts, flushes }
  } finally {
    for (const b of [source, result, staging]) b.destroy()
  }
}
