import * as onnxruntime from "onnxruntime-web/webgpu"
import { modelOf } from "./models.ts"
import type { Absent, Ready } from "../peer.ts"
import type { Work } from "../work.ts"

const usage = { copySource: 0x4, copyTarget: 0x8, storage: 0x80 }

/** Readies a work in a session on WebGPU whose inputs lie in GPU buffers, and whose results stay in such. */
export async function prepareGpuSession(work: Work): Promise<Ready | Absent> {
  const { InferenceSession, Tensor, env } = onnxruntime, model = modelOf(work)
  if (!model) return { absent: `has no ${work.op}` }
  const session = await InferenceSession.create(model.bytes, { executionProviders: ["webgpu"], graphOptimizationLevel: "all", preferredOutputLocation: "gpu-buffer" })
  const device = (await env.webgpu.device) as GPUDevice
  const feeds = Object.fromEntries(Object.entries(model.feeds).map(([name, { data, dims }]) => {
    const values = model.half ? new Float16Array(data) : (data as Float32Array<ArrayBuffer>)
    const buffer = device.createBuffer({ size: Math.ceil(values.byteLength / 16) * 16, usage: usage.storage | usage.copySource | usage.copyTarget })
    device.queue.writeBuffer(buffer, 0, values.buffer, values.byteOffset, values.byteLength) // Dawn's binding for Node divides by the size of elements, and knows none of Float16Array
    return [name, Tensor.fromGpuBuffer(buffer, { dataType: model.half ? "float16" : "float32", dims })]
  }))
  let y: onnxruntime.Tensor | undefined
  return {
    async run() {
      y?.dispose()
      y = (await session.run(feeds)).y
    },
    async result() {
      const bits = (await y!.getData()) as Float32Array | Uint16Array | Float16Array
      const output = bits instanceof Uint16Array ? new Float16Array(bits.buffer, bits.byteOffset, bits.length) : bits
      const values = output instanceof Float32Array ? output : new Float32Array(output)
      return model.result?.(values) ?? values
    },
    async close() {
      y?.dispose()
      await session.release()
      for (const feed of Object.values(feeds)) (feed as { gpuBuffer: GPUBuffer }).gpuBuffer.destroy()
    },
  }
}
