import { adamW, argmax, compile, crossEntropy, realize, tensor, tensorsOf, valueAndGrad, type Tensor } from "@thimble/core"
import { int } from "@thimble/compress"
import { createCache, type LayerCache, type Model } from "@thimble/models"
import type { Context, Part } from "./part.ts"
import { median, noise, timed } from "./time.ts"
import { configs, randomModel } from "./weights.ts"

const dispose = (tree: unknown): void => { for (const t of tensorsOf(tree)) t.dispose() }

/** Tokens one after the other, each known before the next is asked for, and a prompt of many at once. */
async function decode(context: Context, size: keyof typeof configs, bits: 4 | 8, activations: "f32" | "int8", cached: "f32" | "f16"): Promise<void> {
  const config = configs[size], { tiny, row, ceilings, device } = context
  const model = randomModel(config, int(bits, { group: 32 }), activations)
  type Layers = readonly LayerCache[]
  const run = (layers: Layers, ids: Tensor, count: Tensor, position: 0 | Tensor): { next: Tensor; layers: Layers } => {
    const { logits, cache } = model.step(ids, { layers }, { position, count, at: count.sub(1) })
    return { next: argmax(logits, { axis: -1 }).reshape([1, 1]), layers: cache.layers }
  }
  const prefill = compile((layers: Layers, ids: Tensor, count: Tensor) => run(layers, ids, count, 0), { donate: [0] })
  const step = compile(run as (layers: Layers, ids: Tensor, count: Tensor, position: Tensor) => { next: Tensor; layers: Layers }, { donate: [0] })
  const name = `${size} Llama, q${bits}, ${activations} activations, ${cached} cache`

  const prompt = tiny ? 16 : 512, ids = tensor(Int32Array.from({ length: prompt }, (_, i) => (i * 31) % config.vocabulary), { shape: [1, prompt] })
  const times: number[] = []
  let layers: Layers = createCache(model, { length: tiny ? 32 : 1024, dtype: cached }).layers, next: Tensor
  for (let i = 0; i < (tiny ? 1 : 4); i++) {
    const start = performance.now();
    ({ next, layers } = await prefill(layers, ids, BigInt(prompt) as never))
    await next.data()
    times.push(performance.now() - start)
    next.dispose()
    // What is compiled for programs that run on.
    if (i === 1) await device.settled()
  }
  row(`prompt of ${prompt}, ${name}`, { "tokens/s": prompt / (Math.min(...times) / 1e3), ms: Math.min(...times), "first ms": times[0]! })

  // What is compiled for programs that run on is compiled while the first tokens are made.
  const first = tiny ? 0 : 8, tokens = first + (tiny ? 4 : 64), each: number[] = []
  const matrices = Object.entries(model.weights).filter(([path]) => path !== "model.embed_tokens").reduce((n, [, w]) => n + w.bytes, 0)
  const speeds = (ms: number): Record<string, number> => ({ "tokens/s": 1e3 / ms, ms, "GB/s of weights": matrices / ms / 1e6, "% of copy": (100 * matrices) / ms / 1e6 / ceilings.copyGbs })
  let id = 1
  for (let i = 0; i < tokens; i++) {
    const start = performance.now()
    using at = tensor(Int32Array.of(id), { shape: [1, 1] });
    ({ next, layers } = await step(layers, at, BigInt(1) as never, BigInt(prompt + i) as never))
    id = Number((await next.data())[0])
    next.dispose()
    each.push(performance.now() - start)
    if (i + 1 === first) await device.settled()
  }
  row(`decode, ${name}`, { ...speeds(median(each.slice(first + 8 < tokens ? first + 8 : 1))), "first ms": each[0]!, "weights GB": matrices / 1e9 })

  // As generate does it: the next token is asked for before the last is read.
  const ahead = tiny ? 2 : 128
  let last = tensor(Int32Array.of(id), { shape: [1, 1] }), read: Promise<unknown> = Promise.resolve()
  const start = performance.now()
  for (let i = 0; i < ahead; i++) {
    ({ next, layers } = await step(layers, last, BigInt(1) as never, BigInt(prompt + tokens + i) as never))
    await read
    last.dispose()
    last = next
    read = next.data()
  }
  await read
  row(`decode, the next asked for before the last is read, ${name}`, speeds((performance.now() - start) / ahead))
  last.dispose()
  dispose(layers)
  dispose(model)
  ids.dispose()
  await device.gpu.queue.onSubmittedWorkDone()
}

export const decoding: Part = {
  name: "models of random weights",
  seconds: 120,
  async run(context) {
    const list = context.tiny ? [["tiny", 4, "int8", "f32"], ["tiny", 8, "f32", "f16"]] as const
      : [["7B", 4, "int8", "f16"], ["7B", 4, "int8", "f32"], ["1B", 4, "int8", "f16"], ["110M", 4, "int8", "f16"], ["7B", 8, "int8", "f16"], ["1B", 8, "int8", "f16"], ["110M", 8, "int8", "f16"], ["7B", 4, "f32", "f16"]] as const
    const chosen = process.env.MODELS?.split(",") ?? Object.keys(configs)
    for (const [size, bits, activations, cached] of list) if (chosen.includes(size) && context.left() > 15_000) await decode(context, size, bits, activations, cached)
  },
}

type Float = "f32" | "f16"
async function attend(context: Context, tq: number, tk: number, [dtype, cache]: readonly [queries: Float, cache: Float]): Promise<void> {
  const { row, ceilings } = context, heads = context.tiny ? 2 : 32, d = context.tiny ? 16 : 128
  const make = async (t: number, dtype: Float): Promise<Tensor> => {
    const some = noise(Math.min(heads * t * d, 2 ** 20)), all = Float32Array.from({ length: heads * t * d }, (_, i) => some[i % some.length]!)
    const x = tensor(all, { shape: [1, heads, t, d] }).cast(dtype)
    await realize(x)
    return x
  }
  const [q, k, v] = [await make(tq, dtype), await make(tk, cache), await make(tk, cache)]
  const look = compile((q: Tensor, k: Tensor, v: Tensor) => q.attention(k, v, { causal: true, qOffset: tk - tq }))
  const ms = await timed(context, async () => (await look(q, k, v)).dispose())
  const flops = 4 * heads * d * (tq === 1 ? tk : (tq * (2 * tk - tq)) / 2), bytes = 2 * heads * tk * d * (cache === "f32" ? 4 : 2)
  row(`attention ${dtype}${cache === dtype ? "" : ` over ${cache}`}, ${heads} heads of ${d}, ${tq} queries, ${tk} keys`, { ms, "TFLOP/s": flops / ms / 1e9, ...(tq === 1 && { "GB/s": bytes / ms / 1e6, "% of copy": (100 * bytes) / ms / 1e6 / ceilings.copyGbs }) })
  for (const t of [q, k, v]) t.dispose()
}

export const attention: Part = {
  name: "attention",
  seconds: 30,
  async run(context) {
    for (const [tq, tk] of context.tiny ? [[1, 40], [24, 40]] : [[1, 2048], [1, 8192], [512, 512], [2048, 2048]])
      for (const types of [["f32", "f32"], ["f32", "f16"], ["f16", "f16"]] as const) if (context.left() > 3000) await attend(context, tq!, tk!, types)
  },
}

/** Forward, backward and AdamW on one sequence, everything in f32. */
export const training: Part = {
  name: "a training step",
  seconds: 40,
  async run(context) {
    const size = context.tiny ? "tiny" : "110M", config = configs[size], length = context.tiny ? 8 : 256
    const optimizer = adamW({ rate: 1e-4 })
    let model = randomModel(config), state = optimizer.init(model)
    const ids = tensor(Int32Array.from({ length: length + 1 }, (_, i) => (i * 37) % config.vocabulary), { shape: [1, length + 1] })
    const step = compile((model: Model, state: ReturnType<typeof optimizer.init>, ids: Tensor) => {
      const { value, grads } = valueAndGrad((m: Model) => crossEntropy(m.forward(ids.slice([0, 1], [0, length])).reshape([length, config.vocabulary]), ids.slice([0, 1], [1, length + 1]).reshape([length])))(model)
      const moved = optimizer.update(model, grads, state)
      return { loss: value, model: moved.parameters, state: moved.state }
    }, { donate: [0, 1] })
    const times: number[] = [], losses: number[] = []
    for (let i = 0; i < (context.tiny ? 2 : 10) && context.left() > 2000; i++) {
      const start = performance.now()
      const made = await step(model, state, ids)
      model = made.model
      state = made.state
      losses.push(Number((await made.loss.data())[0]))
      made.loss.dispose()
      times.push(performance.now() - start)
      await context.device.settled()
    }
    const ms = Math.min(...times.slice(1))
    context.row(`training step, ${size} Llama, ${length} tokens, f32, AdamW`, { ms, "tokens/s": length / (ms / 1e3), "TFLOP/s": (6 * model.size * length) / ms / 1e9, "first ms": times[0]!, "loss before": losses[0]!, "loss after": losses.at(-1)! })
    dispose(model)
    dispose(state)
  },
}
