// What a step of decoding asks of the host: dispatches by kernel, and the time that it takes to plan, encode and hand them over.
// No card is needed, nor used. Usage: node bench/host.ts [7B|1B|110M] [f16|f32] [tokens]   (the shape of the model, the type of its
// cache, and how many tokens go in at once: 1 unless given)
import { useDevice } from "@thimble/core"
import { int } from "@thimble/compress"
import { decoding } from "./gpu/decoding.ts"
import { nothing } from "./gpu/nothing.ts"
import { encode, record } from "./gpu/record.ts"
import { median } from "./gpu/time.ts"
import { configs, randomModel } from "./gpu/weights.ts"

const shape = (process.argv[2] ?? "7B") as keyof typeof configs, dtype = (process.argv[3] ?? "f16") as "f16" | "f32", tokens = Number(process.argv[4] ?? 1)
const { device, invalid } = await nothing()
useDevice(device)
// The null backend has memory for one layer; so has the cache for few tokens, which are as many dispatches as more.
const model = randomModel(configs[shape], int(4, { group: 32 }), "int8", { sameLayers: true }), length = Math.max(128, tokens), places = length - tokens + 1
const { token } = decoding(model, { length, dtype, tokens })

// So often that all is compiled, and the host has its pace.
for (let i = 0; i < 40; i++) {
  await token(i % places)
  if (i === 5) await device.settled()
}
if (invalid.length > 0) throw new Error(invalid.join("\n"))
const { sent, submitted } = await record(device, () => token(40 % places))
const kernels = Map.groupBy(sent, (s) => s.pipeline.label)
for (const [label, list] of [...kernels].toSorted(([, a], [, b]) => b.length - a.length)) console.log(`${String(list.length).padStart(5)}  ${label}`)

const all: number[] = [], dawn: number[] = []
for (let i = 0; i < 300 / tokens; i++) {
  let start = performance.now()
  await token(i % places, () => void all.push(performance.now() - start))
  start = performance.now()
  const encoder = device.gpu.createCommandEncoder(), pass = encoder.beginComputePass()
  encode(pass, sent)
  pass.end()
  device.gpu.queue.submit([encoder.finish()])
  dawn.push(performance.now() - start)
  await device.gpu.queue.onSubmittedWorkDone()
}
const each = (ms: number): string => `${ms.toFixed(2)} ms, ${((1e3 * ms) / sent.length).toFixed(2)} µs a dispatch`
console.log(`${sent.length} dispatches in ${submitted.length - 1} submissions; ${each(median(all))}; of it Dawn's, in one pass: ${each(median(dawn))}`)
await device.close()
process.exit(0)
