// A model of 110 million parameters through GPTQ, from file to file, in a process of its own: time, and how far its memory grows.
// node bench/recipe.ts [--threads 2] [--samples 32] [--length 512] [--group 128]
import { fork } from "node:child_process"
import { readFile, stat, writeFile } from "node:fs/promises"
import { parseArgs } from "node:util"
import { gptq, int, plan, quantize, sequencesOf } from "@thimble/compress"
import { denseWeight, fromBytes, type Tensor, type Weight } from "@thimble/core"
import { open } from "@thimble/kernels"
import { createModel, expectedTensors, loadModel, readConfig, saveModel } from "@thimble/models"
import { uniform } from "./random.ts"

const option = (or: number) => ({ type: "string" as const, default: String(or) })
const { values: flags } = parseArgs({ options: { threads: option(2), samples: option(32), length: option(512), group: option(128), child: { type: "boolean", default: false } } })
const threads = Number(flags.threads), samples = Number(flags.samples), length = Number(flags.length), group = Number(flags.group)
const folder = new URL("out/llama-110m", import.meta.url).pathname, mib = (n: number): string => `${(n / 2 ** 20).toFixed(0)} MiB`

/** 12 blocks of width 768, head and embedding one matrix, random weights in bf16. */
async function make(): Promise<void> {
  const config = readConfig({ model_type: "llama", vocab_size: 32000, hidden_size: 768, intermediate_size: 2048, num_hidden_layers: 12, num_attention_heads: 12, max_position_embeddings: 1024, tie_word_embeddings: true, rms_norm_eps: 1e-5 })
  const parameters: Record<string, Weight | Tensor> = {}
  expectedTensors(config).forEach(({ name, path, kind, shape }, i) => {
    const size = shape.reduce((n, m) => n * m, 1), values = kind === "matrix" ? uniform(i + 1, size, -0.05, 0.05) : new Float32Array(size).fill(1), t = fromBytes(new Uint8Array(values.buffer), shape, "f32")
    parameters[kind === "matrix" ? path : name] = kind === "matrix" ? denseWeight(t) : t
  })
  await saveModel(createModel(config, parameters), folder, { dtype: "bf16" })
}

const memory = async (): Promise<{ now: number; most: number }> => {
  const status = await readFile("/proc/self/status", "utf8"), field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)![1]) * 1024
  return { now: field("VmRSS"), most: field("VmHWM") }
}

if (!flags.child) {
  await open("wasm")
  if (!(await stat(folder).then(() => true, () => false))) await make()
  // What has made the file is not to count.
  const child = fork(new URL(import.meta.url), [...process.argv.slice(2), "--child"], { stdio: "inherit" })
  process.exit(await new Promise<number>((resolve) => child.on("exit", (code) => resolve(code ?? 1))))
}

const device = await open("wasm", { threads })
const { size: bytes } = await stat(`${folder}/model.safetensors`)
await writeFile("/proc/self/clear_refs", "5")
const before = (await memory()).now, begun = performance.now()
const model = await loadModel(folder, { lazy: true, tokenizer: false })
const data = await sequencesOf(Array.from({ length: samples }, (_, s) => Int32Array.from({ length }, (_, i) => ((s * 7919 + i * i * 31 + i) % 31999) + 1)))
const job = plan(model, quantize({ default: gptq({ format: int(4, { group }) }) })).run(data)
let slowest = 0
for await (const e of job) if (e.kind === "matrix") slowest = Math.max(slowest, e.entry.seconds)
const { model: small, report } = await job.result, computed = (performance.now() - begun) / 1000
const grown = (await memory()).most - before
console.log(`${(model.size / 1e6).toFixed(1)} million parameters, ${mib(bytes)} in bf16, on ${device.name} with ${device.threads ?? 1} threads; ${data.tokens} tokens`)
console.log(`GPTQ int4g${group}: ${computed.toFixed(1)} s, the slowest matrix ${slowest.toFixed(2)} s; ${mib(small.bytes)}, ${report.bitsPerWeight.toFixed(2)} bits per weight; output error ${(100 * report.entries.reduce((n, e) => n + e.outputError!, 0) / report.entries.length).toFixed(2)} % on average`)
console.log(`memory grew by ${mib(grown)}, ${(grown / bytes).toFixed(2)} × the file (bar 1.5)`)
await device.close()
