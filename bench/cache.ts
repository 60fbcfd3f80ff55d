// Decoding with keys and values stored in several types: time of a step, and what is kept, by the tokens so far.
// node bench/cache.ts [threads]
import { compile, denseWeight, randn, realize, tensorsOf, type Tensor, type Weight } from "@thimble/core"
import { open } from "@thimble/kernels"
import { cacheBytes, createCache, createModel, expectedTensors, readConfig, type Cache, type CacheType } from "@thimble/models"

const config = readConfig({
  model_type: "llama", vocab_size: 256, hidden_size: 256, intermediate_size: 256, num_hidden_layers: 4, num_attention_heads: 8, num_key_value_heads: 4, head_dim: 64, max_position_embeddings: 4096,
})
const threads = Number(process.argv[2] ?? 2)
await open("wasm", { threads })
const parameters: Record<string, Weight | Tensor> = {}
for (const [seed, { name, path, kind, shape }] of expectedTensors(config).entries()) {
  const values = randn(shape, { seed })
  if (kind === "matrix") parameters[path] = denseWeight(values.mul(0.06))
  else parameters[name] = values.mul(0.1).add(1)
}
const model = createModel(config, parameters)
await realize(...tensorsOf(model))

const types: readonly CacheType[] = ["f32", "f16", "bf16", "int8", "int4"], runs = 40
console.log(`4 layers, 8 heads on 4 of keys and values, 64 features; ${threads} threads; ms a step, the median of ${runs}`)
for (const position of [256, 1024, 4000]) {
  const cells: string[] = []
  for (const dtype of types) {
    const step = compile((cache: Cache, id: Tensor, position: Tensor) => model.step(id.reshape([1, 1]), cache, { position }), { donate: [0] })
    let cache = createCache(model, { dtype })
    await realize(...tensorsOf(cache))
    const bytes = cacheBytes(cache), times: number[] = []
    for (let i = 0; i < runs + 20; i++) {
      const start = performance.now(), made = await step(cache, BigInt(i), BigInt(position + i))
      await made.logits.data()
      times.push(performance.now() - start)
      made.logits.dispose()
      cache = made.cache
    }
    const median = times.slice(20).sort((a, b) => a - b)[runs >> 1]!
    cells.push(`${dtype} ${median.toFixed(2)} (${(bytes / 1e6).toFixed(1)} MB)`)
    for (const t of tensorsOf(cache)) t.dispose()
    step.dispose()
  }
  console.log(`after ${position} tokens: ${cells.join(" · ")}`)
}
process.exit(0)
