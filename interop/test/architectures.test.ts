import { mkdtemp, readdir, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { cat, denseWeight, softmax, tensor, zeros, type Tensor } from "@thimble/core"
import type { GgufValue } from "@thimble/formats"
import { open } from "@thimble/kernels"
import { createModel, loadModel, saveModel, type Config, type Model } from "@thimble/models"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { openLlamaCpp } from "../llama-cpp.ts"

const fixtures = fileURLToPath(new URL("../../packages/models/fixtures/models/", import.meta.url))
let folder: string
beforeAll(async () => {
  await open("wasm", { threads: 1 })
  folder = await mkdtemp(join(tmpdir(), "thimble-interop-"))
})
afterAll(() => rm(folder, { recursive: true }))

/** Tokens of a vocabulary that llama.cpp takes: it wants one for every byte. What they stand for does not matter here. */
const size = 320
const names = ["<unk>", "<s>", "</s>", ...Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`), "\u2581", ...Array.from({ length: size }, (_, i) => `t${i}`)].slice(0, size)
const vocabulary = new Map<string, GgufValue>([
  ["tokenizer.ggml.model", { type: "string", value: "llama" }],
  ["tokenizer.ggml.tokens", { type: "array", of: "string", value: names }],
  ["tokenizer.ggml.scores", { type: "array", of: "f32", value: Float32Array.from(names, (_, i) => -i) }],
  ["tokenizer.ggml.token_type", { type: "array", of: "i32", value: Int32Array.from(names, (_, i) => (i === 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1)) }],
])

/** The model with rows for all of them, the new ones zeros. */
function widened({ config, weights, vectors }: Model, change: (config: Config) => Config): Model {
  const more = (t: Tensor): Tensor => cat([t.cast("f32"), zeros([size - t.shape[0]!, ...t.shape.slice(1)])])
  const wide = Object.entries(weights).map(([name, w]) => [name, w.shape[0] === config.vocabulary && /embed|lm_head|wte/.test(name) ? denseWeight(more(w.dense())) : w] as const)
  return createModel({ ...change(config), vocabulary: size }, { ...Object.fromEntries(wide), ...Object.fromEntries(Object.entries(vectors).map(([name, t]) => [name, name === "lm_head.bias" ? more(t) : t])) }, { metadata: vocabulary })
}

/** What llama.cpp does not do, and is left out of the models. */
const changes: Readonly<Record<string, (config: Config) => Config>> = {
  // It looks back on all tokens.
  mistral: ({ windows: _, ...config }) => config,
  "phi3-long": ({ windows: _, ...config }) => config,
  // It knows the scale of the published sizes, and takes that of the head's features for others.
  gemma2: (config) => ({ ...config, scale: config.headSize ** -0.5 }),
}
const left: Readonly<Record<string, string>> = {
  bert: "no head", distilbert: "no head",
  "qwen2-window": "looks back on all tokens",
  "phi3-short": "has no context so short that it takes the short factors",
}
/** llama.cpp looks these nonlinearities up in a table of F16. */
const bound = (config: Config): number => (config.activation.startsWith("gelu") ? 1e-3 : 1e-4)

describe.each((await readdir(fixtures)).filter((name) => !(name in left)))("%s, from Hugging Face's names to llama.cpp", (name) => {
  test("gives the same probabilities", async () => {
    const path = join(folder, `${name}.gguf`), model = widened(await loadModel(fixtures + name), changes[name] ?? ((config) => config))
    await saveModel(model, path, { dtype: "f32" })
    const prompt = Array.from({ length: 20 }, (_, i) => 5 + ((i * 11) % 26))
    await using theirs = await openLlamaCpp(path, { contextSize: 64, vocabulary: size })
    const { probabilities: [p] } = await theirs.continuation(prompt, 1)
    const own = await softmax(model.forward(tensor([prompt], { dtype: "i32" })).narrow(1, prompt.length - 1, 1)).data()
    expect(Math.max(...own.map((v, i) => Math.abs(v - p![i]!)))).toBeLessThan(bound(model.config))
  })
})
