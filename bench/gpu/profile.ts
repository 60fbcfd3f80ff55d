// Where the time of a decoding step goes on the GPU: every dispatch in a pass of its own, between two timestamps.
import { argmax, compile, tensor, tensorsOf, type Tensor } from "@thimble/core"
import { int } from "@thimble/compress"
import { createCache, type LayerCache } from "@thimble/models"
import type { GpuDevice, Part } from "./part.ts"
import { configs, randomModel } from "./weights.ts"

// Node has no WebGPU globals.
const usage = { mapRead: 0x1, copySource: 0x4, copyTarget: 0x8, queryResolve: 0x200 }, mapForReading = 1
/** Dispatches that one query set holds. */
const most = 2000

/** Times every dispatch while `work` runs; microseconds and counts by kernel, the dearest first. */
async function dispatches(device: GpuDevice, work: () => Promise<void>): Promise<[name: string, microseconds: number, count: number][]> {
  const { gpu } = device, queries = gpu.createQuerySet({ type: "timestamp", count: 2 * most }), seen: string[] = []
  const original = gpu.createCommandEncoder.bind(gpu)
  gpu.createCommandEncoder = (descriptor) => {
    const encoder = original(descriptor), begin = encoder.beginComputePass.bind(encoder)
    encoder.beginComputePass = () => {
      let pipeline: GPUComputePipeline | undefined
      const groups: Parameters<GPUComputePassEncoder["setBindGroup"]>[] = []
      return {
        setPipeline: (p: GPUComputePipeline) => void (pipeline = p),
        setBindGroup: (...args: Parameters<GPUComputePassEncoder["setBindGroup"]>) => void (groups[args[0]] = args),
        dispatchWorkgroups(x: number, y: number) {
          const at = seen.length
          if (at >= most) return
          seen.push(pipeline!.label)
          const pass = begin({ timestampWrites: { querySet: queries, beginningOfPassWriteIndex: 2 * at, endOfPassWriteIndex: 2 * at + 1 } })
          pass.setPipeline(pipeline!)
          for (const g of groups) if (g !== undefined) pass.setBindGroup(...g)
          pass.dispatchWorkgroups(x, y)
          pass.end()
        },
        end() {},
      } as unknown as GPUComputePassEncoder
    }
    return encoder
  }
  try {
    await work()
  } finally {
    gpu.createCommandEncoder = original
  }
  const bytes = 16 * seen.length
  const resolved = gpu.createBuffer({ size: bytes, usage: usage.queryResolve | usage.copySource }), read = gpu.createBuffer({ size: bytes, usage: usage.copyTarget | usage.mapRead })
  const encoder = gpu.createCommandEncoder()
  encoder.resolveQuerySet(queries, 0, 2 * seen.length, resolved, 0)
  encoder.copyBufferToBuffer(resolved, 0, read, 0, bytes)
  gpu.queue.submit([encoder.finish()])
  await read.mapAsync(mapForReading)
  const times = new BigUint64Array(read.getMappedRange().slice(0))
  const sums = new Map<string, [number, number]>()
  seen.forEach((name, i) => {
    const [sum, count] = sums.get(name) ?? [0, 0]
    sums.set(name, [sum + Number(times[2 * i + 1]! - times[2 * i]!) / 1e3, count + 1])
  })
  for (const b of [resolved, read]) b.destroy()
  queries.destroy()
  return [...sums].map(([name, [sum, count]]): [string, number, number] => [name, sum, count]).sort((a, b) => b[1] - a[1])
}

export const profile: Part = {
  name: "a decoding step, dispatch by dispatch",
  seconds: 40,
  async run({ device, tiny, row }) {
    const config = { ...configs[tiny ? "tiny" : "7B"], layers: tiny ? 2 : 16 }, model = randomModel(config, int(4, { group: 32 }), "int8")
    type Layers = readonly LayerCache[]
    const step = compile((layers: Layers, ids: Tensor, count: Tensor, position: Tensor) => {
      const { logits, cache } = model.step(ids, { layers }, { position, count, at: count.sub(1) })
      return { next: argmax(logits, { axis: -1 }), layers: cache.layers }
    }, { donate: [0] })
    let layers: Layers = createCache(model, { length: tiny ? 32 : 1024, dtype: "f32" }).layers, next: Tensor
    const ids = tensor(Int32Array.of(1), { shape: [1, 1] })
    const token = async (position: number): Promise<void> => {
      ({ next, layers } = await step(layers, ids, 1n as never, BigInt(position) as never))
      await next.data()
      next.dispose()
    }
    const start = tiny ? 16 : 512
    // So often that all is compiled, and the adapter's clock is up.
    const before = tiny ? 6 : 60
    for (let i = 0; i < before; i++) {
      await token(start + i)
      if (i === 5) await new Promise((go) => setTimeout(go, 1500))
    }
    const found = await dispatches(device, () => token(start + before))
    row("all", { "µs on the GPU": found.reduce((sum, [, t]) => sum + t, 0), dispatches: found.reduce((n, [, , c]) => n + c, 0) })
    for (const [name, microseconds, count] of found) row(name, { "µs each": microseconds / count, times: count, "µs": microseconds })
    for (const t of [...tensorsOf(layers), ...tensorsOf(model), ids]) t.dispose()
  },
}
