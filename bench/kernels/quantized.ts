// Weights as they are stored, at the sizes of a small Llama (12 layers, width 768, hidden 2048, 12 heads, 32000 tokens):
// GB/s of weights and prompts' tokens/s per matrix, then tokens/s of the whole model, decoding and reading a prompt.
// node bench/kernels/quantized.ts [types] [threads] [what]   e.g. Q4_K,Q6_K 1,2 matrices,model
import {
  add, attention, compile, denseWeight, mul, narrow, permute, quantizedWeight, realize, reshape, rmsNorm, rope, rotation, silu, tensor, tensorsOf, updateSlice, uploadParts, zeros,
  type Tensor, type Weight,
} from "../../packages/core/src/index.ts"
import { ggml, type GgmlName } from "../../packages/formats/src/ggml/index.ts"
import { open } from "../../packages/kernels/src/index.ts"
import { median } from "../measure.ts"

const layers = 12, width = 768, hidden = 2048, heads = 12, vocabulary = 32000, size = width / heads
const prompt = 512, context = 640, decoded = 128
const [types = "F32,Q8_0,Q4_0,Q4_K,Q6_K", threadCounts = "1,2", what = "matrices,model"] = process.argv.slice(2)

const random = Float32Array.from({ length: 1 << 20 }, () => (Math.random() - 0.5) * 0.1)
/** A few encoded rows, as often as it takes. */
function weight(type: GgmlName, rows: number, columns: number): Weight {
  if (type === "F32") {
    const values = new Float32Array(rows * columns)
    for (let at = 0; at < values.length; at += random.length) values.set(random.subarray(0, values.length - at), at)
    return denseWeight(tensor(values, { shape: [rows, columns] }))
  }
  const format = ggml[type], some = 16
  const parts = Object.fromEntries(Object.entries(format.encode(random.subarray(0, some * columns), [some, columns])).map(([name, { data, shape, dtype }]) => {
    const all = new (data.constructor as new (n: number) => typeof data)((data.length / some) * rows)
    for (let at = 0; at < all.length; at += data.length) all.set(data as never, at)
    return [name, { data: all, shape: [rows, ...shape.slice(1)], dtype }]
  }))
  return quantizedWeight(format, [rows, columns], uploadParts(parts), { activations: "int8" })
}
const input = (rows: number, columns: number): Tensor => tensor(random.slice(0, rows * columns), { shape: [rows, columns] })

/** Median ms of a call, once its code is warm. */
async function time(ms: number, run: () => Promise<unknown>): Promise<number> {
  const samples: number[] = []
  for (let i = 0; i < 3; i++) await run()
  for (const end = performance.now() + ms; samples.length < 5 || performance.now() < end;) {
    const start = performance.now()
    await run()
    samples.push(performance.now() - start)
  }
  return median(samples)
}

async function matrices(type: GgmlName): Promise<string> {
  const shown: string[] = []
  for (const [rows, columns] of [[width, width], [hidden, width], [width, hidden], [vocabulary, width]] as const) {
    // More than the caches hold, as a model's are.
    const count = rows === vocabulary ? 1 : Math.ceil(2 ** 25 / (rows * columns)), all = Array.from({ length: count }, () => weight(type, rows, columns))
    await realize(...tensorsOf(all))
    const ms: number[] = []
    for (const m of [1, ...(rows === vocabulary ? [] : [prompt])]) {
      const step = compile((ws: Weight[], x: Tensor) => ws.map((w) => w.apply(x)))
      const x = input(m, columns), some = m === 1 ? all : all.slice(0, 4)
      await realize(x)
      ms.push((await time(250, async () => { for (const y of await step(some, x)) y.dispose() })) / some.length)
      step.dispose()
      x.dispose()
    }
    shown.push(`${rows}×${columns} ${(all[0]!.bytes / ms[0]! / 1e6).toFixed(1)} GB/s${ms[1] === undefined ? "" : `, ${((2 * prompt * rows * columns) / ms[1] / 1e6).toFixed(0)} GFLOP/s`}`)
    for (const t of tensorsOf(all)) t.dispose()
  }
  return shown.join(" · ")
}

interface Block { query: Weight; key: Weight; value: Weight; output: Weight; gate: Weight; up: Weight; down: Weight; attentionNorm: Tensor; feedNorm: Tensor }
interface Cache { keys: Tensor; values: Tensor }

/** Logits of the last of some tokens, whose states are x [t, width] and which begin at a position of the caches. */
function forward(blocks: readonly Block[], head: Weight, caches: readonly Cache[], x: Tensor, position: Tensor): { logits: Tensor; caches: Cache[] } {
  const t = x.shape[0]!, turns = rotation(t, size, { offset: position }), grown: Cache[] = []
  const split = (y: Tensor): Tensor => permute(reshape(y, [1, t, heads, size]), [0, 2, 1, 3])
  blocks.forEach((b, i) => {
    const a = rmsNorm(x, b.attentionNorm), here = { axis: 2, start: position }
    const keys = updateSlice(caches[i]!.keys, rope(split(b.key.apply(a)), turns), here), values = updateSlice(caches[i]!.values, split(b.value.apply(a)), here)
    grown.push({ keys, values })
    const seen = attention(rope(split(b.query.apply(a)), turns), keys, values, { causal: true, qOffset: position, length: add(position, t) })
    x = add(x, b.output.apply(reshape(permute(seen, [0, 2, 1, 3]), [t, width])))
    const f = rmsNorm(x, b.feedNorm)
    x = add(x, b.down.apply(mul(silu(b.gate.apply(f)), b.up.apply(f))))
  })
  return { logits: head.apply(rmsNorm(narrow(x, 0, t - 1, 1))), caches: grown }
}

async function model(type: GgmlName): Promise<string> {
  const w = (rows: number, columns: number): Weight => weight(type, rows, columns)
  const blocks = Array.from({ length: layers }, (): Block => ({
    query: w(width, width), key: w(width, width), value: w(width, width), output: w(width, width), gate: w(hidden, width), up: w(hidden, width), down: w(width, hidden),
    attentionNorm: input(1, width).reshape([width]), feedNorm: input(1, width).reshape([width]),
  }))
  const head = w(vocabulary, width)
  let caches = Array.from({ length: layers }, (): Cache => ({ keys: zeros([1, heads, context, size]), values: zeros([1, heads, context, size]) }))
  const many = input(prompt, width), one = input(1, width)
  await realize(...tensorsOf([blocks, head.parts(), caches, many, one]))
  const step = compile(forward, { donate: [2] })
  const run = async (x: Tensor, position: number): Promise<void> => {
    const made = await step(blocks, head, caches, x, BigInt(position))
    caches = made.caches
    await made.logits.data()
    made.logits.dispose()
  }
  const read = await time(1500, () => run(many, 0))
  let position = 0
  const decode = await time(1500, () => run(one, position = (position + 1) % decoded))
  const bytes = tensorsOf([blocks, head.parts()]).reduce((n, t) => n + t.bytes, 0)
  for (const t of tensorsOf([blocks, head.parts(), caches, many, one])) t.dispose()
  step.dispose()
  return `prompt ${((prompt * 1000) / read).toFixed(0)}, decode ${(1000 / decode).toFixed(1)} tokens/s (${(bytes / decode / 1e6).toFixed(1)} GB/s)`
}

for (const threads of threadCounts.split(",").map(Number)) {
  for (const type of types.split(",") as GgmlName[]) {
    const device = await open("wasm", { threads })
    if (what.includes("matrices")) console.log(`${type.padEnd(5)} ${threads}  ${await matrices(type)}`)
    if (what.includes("model")) console.log(`${type.padEnd(5)} ${threads}  ${await model(type)}`)
    await device.close()
  }
}
