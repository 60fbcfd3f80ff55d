// One small kernel by itself, apart from programs: to find out what a driver does.
import { mapForReading, usage } from "./constants.ts"

/** What `code` makes of `source`, binding 0: the `bytes` of binding 1. Throws where it does not compile. */
export async function computeOnce(device: GPUDevice, code: string, { source, bytes, groups }: { readonly source: Uint32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>; readonly bytes: number; readonly groups: number }): Promise<ArrayBuffer> {
  const make = (size: number, uses: number): GPUBuffer => device.createBuffer({ size, usage: uses })
  const from = make(source.byteLength, usage.storage | usage.copyTarget), result = make(bytes, usage.storage | usage.copySource), staging = make(bytes, usage.mapRead | usage.copyTarget)
  try {
    device.queue.writeBuffer(from, 0, source)
    const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute: { module: device.createShaderModule({ code }) } })
    const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [from, result].map((buffer, binding) => ({ binding, resource: { buffer } })) }))
    pass.dispatchWorkgroups(groups)
    pass.end()
    encoder.copyBufferToBuffer(result, 0, staging, 0, bytes)
    device.queue.submit([encoder.finish()])
    await staging.mapAsync(mapForReading)
    const got = staging.getMappedRange().slice(0)
    staging.unmap()
    return got
  } finally {
    for (const b of [from, result, staging]) b.destroy()
  }
}
