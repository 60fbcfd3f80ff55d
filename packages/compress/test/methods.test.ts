import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { tensor } from "@thimble/core"
import { encodeImatrix, openImatrix } from "@thimble/formats"
import type { Model } from "@thimble/models"
import { beforeAll, describe, expect, test } from "vitest"
import { open } from "../../kernels/src/index.ts"
import { smallModel } from "../../models/test/random-model.ts"
import { adaround, affine, awq, biasCorrected, collectImatrix, formatNamed, ggml, ggmlMix, gptq, hqq, importancesOf, int, int8Activations, learned, llmInt8, mse, nf4, on, parseRecipe, plan, quantize, rotated, rtn, sequencesOf, smooth, type Method } from "../src/index.ts"

beforeAll(async () => void (await open("wasm", { threads: 1 })))

const data = () => sequencesOf(Array.from({ length: 6 }, (_, s) => Array.from({ length: 16 }, (_, i) => (i * 7 + s * 5) % 40)))
const logits = async (model: Model): Promise<Float32Array> => (await model.forward(tensor(Int32Array.from({ length: 12 }, (_, i) => (i * 3) % 40), { shape: [1, 12], dtype: "i32" })).data()) as Float32Array
const farthest = (a: Float32Array, b: Float32Array): number => a.reduce((m, v, i) => Math.max(m, Math.abs(v - b[i]!)), 0)
const outputError = async (method: Method): Promise<number> => {
  const { report } = await plan(smallModel("llama"), quantize({ default: method, sequence: "blocks" })).run(await data()).result
  return report.entries.reduce((n, e) => n + (e.outputError ?? NaN), 0)
}

describe("on the same format", () => {
  test("solving and learning lose less of the outputs than rounding to nearest", async () => {
    const format = int(3, { group: 8, range: "asymmetric" })
    // Gram is asked for so that all are measured alike.
    const plainly: Method = { ...gptq({ format }), round: ({ values, shape }) => ({ stored: { format, parts: format.encode(values, shape) } }) }
    const nearest = await outputError(plainly)
    expect(await outputError(gptq({ format }))).toBeLessThan(0.8 * nearest)
    expect(await outputError(learned({ format, steps: 60 }))).toBeLessThan(0.8 * nearest)
    expect(await outputError(adaround({ format, steps: 200 }))).toBeLessThan(0.8 * nearest)
  })
  test("no fallback goes unreported: inputs that never come are dead columns", async () => {
    const zero = smallModel("llama"), path = "model.layers.0.input_layernorm.weight", norm = (await zero.vectors[path]!.data()) as Float32Array
    const model = zero.with({ [path]: tensor(norm.map((v, i) => (i < 3 ? 0 : v))) })
    const { report } = await plan(model, quantize({ default: gptq({ format: int(4, { group: 8 }) }) })).run(await data()).result
    expect(report.entries.find((e) => e.path.endsWith("0.self_attn.q_proj"))!.fallbacks).toEqual([{ kind: "dead columns", columns: [0, 1, 2] }])
    expect(String(report)).toContain("dead columns")
  })
})

test("factors that nothing can take are reported, matrix by matrix", async () => {
  const run = async (name: string, options: Parameters<typeof quantize>[0]) => (await plan(smallModel(name), quantize(options)).run(await data()).result).report.entries.filter((e) => e.fallbacks.length > 0).map((e) => [e.path, e.fallbacks])
  const method = awq({ format: int(4, { group: 8 }), points: 2 }), none = [{ kind: "no factors", asked: "activation scales" }]
  expect(await run("llama", { default: method })).toEqual([])
  // Between the two matrices of a plain feed-forward part is a nonlinearity.
  expect(await run("gpt2", { default: method })).toEqual([["transformer.h.0.mlp.c_proj", none], ["transformer.h.1.mlp.c_proj", none]])
  // Keys do not ask for factors, so queries and values, which read the same, cannot have them.
  expect((await run("llama", { default: method, rules: [on("k_proj", rtn(int(8)))] })).map(([path]) => path)).toEqual(["q_proj", "v_proj"].flatMap((p) => [`model.layers.0.self_attn.${p}`, `model.layers.1.self_attn.${p}`]).sort())
})

describe("recipes", () => {
  const format = int(4, { group: 8 })
  const all: readonly Method[] = [
    rtn(format), rtn({ format: ggml.Q8_0, importance: "inputs" }), gptq({ format, order: "activity", grids: "static", damping: 0.05 }), hqq({ bits: 3, group: 8, scales: "bf16" }), learned({ format, steps: 3 }), adaround({ format, steps: 3, rate: 0.2, regularizer: 1 }),
    biasCorrected(rtn(nf4({ group: 8 }))), int8Activations({ method: smooth({ method: rtn(int(8)), alpha: 0.3 }), scale: "tensor", ends: mse() }), int8Activations({ method: rtn(int(8)), scale: "token" }), llmInt8({ threshold: 4 }),
  ]
  test.each(all.map((m) => [m.name, m] as const))("%s is the same after it was written down", (_name, method) => {
    const written = JSON.parse(JSON.stringify([rotated({ seed: 3 }), quantize({ default: method })])) as unknown
    expect(JSON.parse(JSON.stringify(parseRecipe(written)))).toEqual(written)
  })
  test.each(["int4g8 mse", "uint2g8 percentile 99", "int3 entropy", "affine3g32 bf16"])("the format %s is found by its name", (name) => expect(formatNamed(name).name).toBe(name))
  test("affine groups keep what HQQ finds", () => expect(affine(4, { group: 8 }).name).toBe("affine4g8"))
})

describe("rotation, then rounding", () => {
  test.each(["llama", "qwen2", "mistral"])("%s: what was planned is what comes out, and rotating alone changes nothing", async (name) => {
    const model = smallModel(name), before = await logits(model), size = Math.max(...before.map(Math.abs))
    const p = plan(model, [rotated({ seed: 1 }), quantize({ default: rtn(int(8)) })]), { model: small } = await p.run().result
    expect(p.bytesAfter).toBe(small.bytes)
    expect(farthest(await logits((await plan(model, rotated({ seed: 1 })).run().result).model), before)).toBeLessThan(1e-4 * size)
    expect(farthest(await logits(small), before)).toBeLessThan(0.1 * size)
  })
  test("is refused where norms cannot be folded", async () => {
    await expect(plan(smallModel("gpt2"), rotated()).run().result).rejects.toThrow(/subtract the mean/)
  })
})

describe("int8 activations", () => {
  test.each(["block", "token", "tensor"] as const)("scales per %s: near the model, and told by its weights", async (scale) => {
    const model = smallModel("llama"), before = await logits(model), { model: small } = await plan(model, quantize({ default: int8Activations({ method: rtn(int(8)), scale }) })).run(await data()).result
    expect(farthest(await logits(small), before)).toBeLessThan(0.1 * Math.max(...before.map(Math.abs)))
    expect(small.weights["model.layers.0.mlp.up_proj"]!.activations).toEqual(scale === "block" ? "int8" : scale === "token" ? "int8PerToken" : expect.objectContaining({}))
  })
})

test("LLM.int8() leaves the columns apart that inputs reach far in, and goes on from a checkpoint", async () => {
  const plain = smallModel("llama"), path = "model.layers.0.input_layernorm.weight", norm = (await plain.vectors[path]!.data()) as Float32Array
  const model = plain.with({ [path]: tensor(norm.map((v, i) => (i === 3 || i === 7 ? 40 * v : v))) }), before = await logits(model)
  const checkpoint = await mkdtemp(join(tmpdir(), "thimble-outliers-")), texts = await data()
  const run = async (method: Method) => (await plan(model, quantize({ rules: [on("0.self_attn.q_proj", method)] })).run(texts, { checkpoint: join(checkpoint, method.name) }).result).model
  const split = await run(llmInt8()), whole = await run(int8Activations({ method: rtn(int(8)), scale: "token" })), weight = split.weights["model.layers.0.self_attn.q_proj"]!
  expect([...(await weight.parts()["outliers.columns"]!.data())]).toEqual([3, 7])
  expect(farthest(await logits(split), before)).toBeLessThan(farthest(await logits(whole), before))
  expect(await (await run(llmInt8())).weights["model.layers.0.self_attn.q_proj"]!.dense().data()).toEqual(await weight.dense().data())
  await rm(checkpoint, { recursive: true })
})

test("an importance matrix is collected, written, read and used as the inputs are", async () => {
  const model = smallModel("llama", { hidden_size: 32, intermediate_size: 64, num_attention_heads: 4 }), texts = await data(), imatrix = await collectImatrix(model, texts, { dataset: "numbers" })
  const pieces: Uint8Array[] = []
  for await (const piece of encodeImatrix(imatrix)) pieces.push(piece)
  const again = await openImatrix(Buffer.concat(pieces))
  expect([...again.entries.keys()].sort()).toEqual([...imatrix.entries.keys()].sort())
  expect(again.entries.get("blk.0.ffn_down.weight")!.counts).toEqual([texts.tokens])
  const format = ggml.Q4_0 as Parameters<typeof rtn>[0] & { name: string }
  const run = async (method: Method) => (await plan(model, quantize({ default: method, sequence: "blocks" })).run(texts).result).model
  const given = await run(rtn({ format: ggml.Q4_0, importance: importancesOf(model.config, again) })), seen = await run(rtn({ format: ggml.Q4_0, importance: "inputs" }))
  expect(format.name).toBe("Q4_0")
  // The first block's inputs are the same; later ones have seen rounded blocks.
  expect(await given.weights["model.layers.0.self_attn.q_proj"]!.dense().data()).toEqual(await seen.weights["model.layers.0.self_attn.q_proj"]!.dense().data())
})

test("llama.cpp's mixes name a type for every matrix, by its place", () => {
  const model = smallModel("llama", { hidden_size: 256, intermediate_size: 512, num_hidden_layers: 8, num_attention_heads: 4, num_key_value_heads: 2, vocab_size: 40 })
  const types = Object.fromEntries(plan(model, quantize({ rules: ggmlMix(model, "Q4_K_M") })).stages[0]!.entries.map((e) => [e.path.replace("model.layers.", ""), e.to]))
  expect(types).toMatchObject({ lm_head: "Q6_K", "model.embed_tokens": "Q4_K", "0.self_attn.v_proj": "Q6_K", "1.self_attn.v_proj": "Q4_K", "3.mlp.down_proj": "Q6_K", "4.mlp.down_proj": "Q4_K", "7.mlp.down_proj": "Q6_K", "2.mlp.up_proj": "Q4_K" })
  const narrow = smallModel("llama", { hidden_size: 32, intermediate_size: 48, num_attention_heads: 4 })
  const fallen = Object.fromEntries(plan(narrow, quantize({ rules: ggmlMix(narrow, "Q2_K") })).stages[0]!.entries.map((e) => [e.path, e.to]))
  expect(fallen).toMatchObject({ "model.layers.0.mlp.up_proj": "Q4_0", "model.layers.0.mlp.down_proj": "F16", lm_head: "Q8_0", "model.layers.0.self_attn.v_proj": "Q4_0" })
})
