// Decoding speed of the demo model with a quarter, and half, of its heads and hidden features left out, beside the whole one in one run.
// node bench/pruned.ts [--tokens 200] [--rounds 9] [--threads 1] [--dtype f32]
import { parseArgs } from "node:util"
import { plan, quantize, rtn, shrink, int, type Stage } from "../packages/compress/src/index.ts"
import { denseWeight, realize } from "../packages/core/src/index.ts"
import { open } from "../packages/kernels/src/index.ts"
import { loadModel, type Model } from "../packages/models/src/index.ts"

const given = (name: string, or: string) => ({ [name]: { type: "string" as const, default: or } })
const { values: flags } = parseArgs({ options: { ...given("tokens", "200"), ...given("rounds", "9"), ...given("threads", "1"), ...given("dtype", "f32"), ...given("model", new URL("../models/demo", import.meta.url).pathname) } })
const tokens = Number(flags.tokens), rounds = Number(flags.rounds), dtype = flags.dtype as "f32" | "bf16" | "int8"

const device = await open("wasm", { threads: Number(flags.threads) })
const loaded = await loadModel(flags.model!)

/** The model with its matrices in one type. */
async function stored(model: Model): Promise<Model> {
  if (dtype === "int8") return (await plan(model, quantize({ default: rtn(int(8, { group: 32 })) })).run().result).model
  const made = Object.fromEntries(Object.entries(model.weights).map(([path, w]) => [path, denseWeight(w.dense().cast(dtype))]))
  await realize(...Object.values(made).flatMap((w) => Object.values(w.parts())))
  return model.with(made)
}

// Heads are left out with those that share their keys and values: here two of four, of all blocks or of every second one.
const recipes: Readonly<Record<string, Stage | undefined>> = {
  "whole": undefined,
  "25 %": shrink({ channels: 0.25, score: "magnitude", rules: [0, 2].map((layer) => ({ layers: [layer], heads: 0.5, channels: 0.25 })) }),
  "50 %": shrink({ heads: 0.5, channels: 0.5, score: "magnitude" }),
}
const models: { name: string; model: Model; times: number[] }[] = []
for (const [name, recipe] of Object.entries(recipes)) models.push({ name, model: await stored(recipe === undefined ? loaded : (await plan(loaded, recipe).run().result).model), times: [] })

const prompt = [...loaded.tokenizer!.encode("Once upon a time there was")]
async function decode(model: Model): Promise<number> {
  let first = 0, count = 0
  for await (const _ of model.generate(prompt, { maxTokens: tokens, stopTokens: [] }).tokens()) if (count++ === 0) first = performance.now()
  return (performance.now() - first) / (count - 1)
}
for (const { model } of models) await decode(model)
// In turns, so that what else the machine does falls on all of them.
for (let round = 0; round < rounds; round++) for (const m of models) m.times.push(await decode(m.model))
const median = (times: readonly number[]): number => [...times].sort((a, b) => a - b)[times.length >> 1]!
const whole = models[0]!, time = median(whole.times)
console.log(`decoding ${tokens} tokens, ${rounds} rounds in turns, ${dtype}, ${device.name}, ${device.threads ?? 1} threads`)
console.log("| heads and hidden features left out | parameters | multiplied with per token | ms per token | tokens/s | times as fast |\n|---|---:|---:|---:|---:|---:|")
for (const { name, model, times } of models) {
  const own = median(times), read = (m: Model): number => Object.entries(m.weights).reduce((n, [path, w]) => (path.endsWith("embed_tokens") && !m.config.tied ? n : n + w.shape[0] * w.shape[1]), 0)
  console.log(`| ${name === "whole" ? "none" : name} | ${model.size} | ${read(model)} (${(read(whole.model) / read(model)).toFixed(2)} × fewer) | ${own.toFixed(3)} | ${(1000 / own).toFixed(0)} | ${(time / own).toFixed(2)} |`)
}
