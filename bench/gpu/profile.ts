// Where the time of a decoding step, and of a prompt, goes on the GPU: its dispatches are recorded as they are sent, then those of each kernel are sent again
// and again, alone, in one pass between two timestamps. So a kernel's time is what it adds to a step, the start of a dispatch included.
import { tensorsOf } from "@thimble/core"
import { int } from "@thimble/compress"
import { decoding } from "./decoding.ts"
import type { Model } from "@thimble/models"
import type { Context, GpuDevice, Part } from "./part.ts"
import { encode, record, type Sent } from "./record.ts"
import { median } from "./time.ts"
import { configs, randomModel } from "./weights.ts"

// Node has no WebGPU globals.
const usage = { mapRead: 0x1, copySource: 0x4, copyTarget: 0x8, queryResolve: 0x200 }, mapForReading = 1

/** Microseconds that these dispatches take in one pass. */
export async function replay({ gpu }: GpuDevice, sent: readonly Sent[], samples = 5): Promise<number> {
  const queries = gpu.createQuerySet({ type: "timestamp", count: 2 }), resolved = gpu.createBuffer({ size: 16, usage: usage.queryResolve | usage.copySource })
  const read = gpu.createBuffer({ size: 16, usage: usage.copyTarget | usage.mapRead }), times: number[] = []
  for (let i = 0; i < samples; i++) {
    const encoder = gpu.createCommandEncoder(), pass = encoder.beginComputePass({ timestampWrites: { querySet: queries, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 } })
    encode(pass, sent)
    pass.end()
    encoder.resolveQuerySet(queries, 0, 2, resolved, 0)
    encoder.copyBufferToBuffer(resolved, 0, read, 0, 16)
    gpu.queue.submit([encoder.finish()])
    await read.mapAsync(mapForReading)
    const [begin, end] = new BigUint64Array(read.getMappedRange().slice(0)) as unknown as [bigint, bigint]
    read.unmap()
    times.push(Number(end - begin) / 1e3)
  }
  for (const b of [resolved, read]) b.destroy()
  queries.destroy()
  return median(times)
}

export const profile: Part = {
  name: "steps of a model, kernel by kernel",
  seconds: 60,
  async run(context) {
    const { tiny } = context, config = { ...configs[tiny ? "tiny" : "7B"], layers: tiny ? 2 : 32 }, model = randomModel(config, int(4, { group: 32 }), "int8")
    // So often that all is compiled, and the adapter's clock is up.
    await kernels(context, model, { tokens: 1, start: tiny ? 16 : 512, before: tiny ? 6 : 60 })
    await kernels(context, model, { tokens: tiny ? 16 : 512, start: 0, before: 7 })
    for (const t of tensorsOf(model)) t.dispose()
  },
}

/** The kernels of a step of so many tokens at a position, after some steps before. */
async function kernels({ device, tiny, row }: Context, model: Model, { tokens, start, before }: { readonly tokens: number; readonly start: number; readonly before: number }): Promise<void> {
  const { token, dispose } = decoding(model, { length: tiny ? 32 : 1024, dtype: tiny ? "f32" : "f16", tokens })
  for (let i = 0; i < before; i++) {
    await token(tokens === 1 ? start + i : start)
    if (i === 5) await device.settled()
  }
  const { sent, submitted } = await record(device, () => token(tokens === 1 ? start + before : start))
  row(`${tokens} ${tokens === 1 ? "token" : "tokens"} in one pass`, { "µs on the GPU": await replay(device, sent), dispatches: sent.length, "submitted after µs": submitted.map((t) => t.toFixed(0)).join(" ") })
  const found: [string, number, number][] = []
  for (const [pipeline, list] of Map.groupBy(sent, (s) => s.pipeline)) found.push([pipeline.label, await replay(device, list), list.length])
  for (const [label, microseconds, times] of found.toSorted((a, b) => b[1] - a[1])) row(label, { "µs each": microseconds / times, times, "µs": microseconds })
  dispose()
}
