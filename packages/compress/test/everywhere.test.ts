// Every method on every architecture, in sizes that divide by nothing, and stopped anywhere.
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import fc from "fast-check"
import { realize, tensor, tensorsOf } from "@thimble/core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { open } from "../../kernels/src/index.ts"
import type { Json, Model } from "../../models/src/index.ts"
import { liveBytes } from "./live-bytes.ts"
import { smallModel } from "../../models/test/random-model.ts"
import {
  adaround, affine, awq, biasCorrected, binary, codebook, fp, gptq, hqq, int, int8Activations, keep, learned, llmInt8, lowRank, mse, mx, nf4, on, parseRecipe, plan, pruned, quantize, rotated, rtn, sequencesOf, smooth, sparsegpt, ternary, unstructured, wanda,
  type Method, type Recipe,
} from "../src/index.ts"

beforeAll(async () => void (await open("wasm", { threads: 1 })))
const folder = mkdtempSync(join(tmpdir(), "thimble-everywhere-"))
afterAll(() => rmSync(folder, { recursive: true }))

/** Odd widths, one row, one column, tied and not. */
const models: Readonly<Record<string, readonly [architecture: string, changed: Json]>> = {
  "llama, one channel between": ["llama", { intermediate_size: 1, tie_word_embeddings: true, vocab_size: 37 }],
  "llama, odd": ["llama", { hidden_size: 18, num_attention_heads: 3, num_key_value_heads: 1, intermediate_size: 23, vocab_size: 29 }],
  mistral: ["mistral", {}], qwen2: ["qwen2", { intermediate_size: 13 }], qwen3: ["qwen3", {}], phi: ["phi", { intermediate_size: 7 }], phi3: ["phi3", { intermediate_size: 11 }], gemma2: ["gemma2", { num_hidden_layers: 1 }], gpt2: ["gpt2", { vocab_size: 31 }],
  gpt_neox: ["gpt_neox", { intermediate_size: 9 }], bert: ["bert", { intermediate_size: 5 }], distilbert: ["distilbert", { hidden_dim: 3 }],
}
const group = 5
const methods: readonly Method[] = [
  rtn(int(3, { group })), rtn({ format: int(2, { group, ends: mse() }), importance: "inputs" }), rtn(int(4, { group: "tensor", range: "asymmetric" })), rtn(affine(4, { group, scales: "bf16" })), rtn(nf4({ group })), rtn(codebook(2, { group })), rtn(ternary({ group })), rtn(binary()), rtn(fp("e4m3")), rtn(mx("e2m1")),
  gptq({ format: int(3, { group }) }), gptq({ format: int(2, { group, range: "asymmetric", ends: mse() }), order: "activity" }), gptq({ format: int(4), order: "activity", grids: "static", damping: 0.1 }), gptq({ format: nf4({ group }) }),
  hqq({ bits: 3, group: 1 }), awq({ format: int(3, { group }), points: 2, samples: 8 }), awq({ format: affine(3, { group: "row" }), points: 2, samples: 8, clip: "none" }), learned({ format: int(3, { group }), steps: 2 }), adaround({ format: int(3, { group }), steps: 2 }),
  smooth({ method: rtn(int(8)) }), biasCorrected(rtn(int(2, { group }))), int8Activations({ method: rtn(int(8)), scale: "block" }), int8Activations({ method: smooth({ method: gptq({ format: int(8) }) }), scale: "token" }), int8Activations({ method: rtn(int(4, { group })), scale: "tensor", ends: mse(), samples: 8 }), llmInt8({ threshold: 1 }),
  lowRank({ rank: 1 }), pruned({ score: wanda(), pattern: unstructured(0.5) }), sparsegpt({ sparsity: 0.5, round: int(4, { group }), block: 10 }),
]
const named = methods.map((m) => [`${m.name} ${JSON.stringify(m.toJSON())}`, m] as const)

const data = sequencesOf([[1, 5, 9, 2, 6, 5, 3, 5], [8, 9, 7, 9, 3, 2, 3, 8], [4, 6, 2, 6, 4, 3, 3, 8]])
const ids = (): ReturnType<typeof tensor> => tensor([[3, 1, 4, 1, 5, 9]], { dtype: "i32" })
const answer = async (model: Model): Promise<Float32Array> => {
  using x = ids()
  using t = model.forward(x)
  return (await t.data()) as Float32Array
}
const made = async (name: string): Promise<Model> => {
  const model = smallModel(...models[name]!)
  await realize(...tensorsOf(model))
  return model
}
const contents = async (model: Model): Promise<Record<string, string>> => {
  const out: Record<string, string> = {}
  for (const [name, t] of Object.entries(model.parts())) {
    const raw = await t.raw()
    out[name] = `${t.dtype}[${t.shape.join()}] ${Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength).toString("base64")}`
  }
  return out
}
/** Releases what a model does not share with another. */
const release = (made: Model, from: Model): void => {
  const kept = new Set(tensorsOf(from))
  for (const t of new Set(tensorsOf(made))) if (!kept.has(t)) t.dispose()
}
/** A recipe that gives every matrix to a method, but for those that it says it does not fit (a factor of rank 1 takes more than a row). */
function all(method: Method, model: Model): Recipe {
  const unfit = Object.entries(model.weights).filter(([, w]) => { const target = method.target(w.shape as [number, number]); return target !== undefined && "unfit" in target }).map(([path]) => on(path, keep()))
  return quantize({ default: method, rules: [...unfit, ...(model.weights["lm_head"] === undefined ? [] : [on("lm_head", method)])] })
}

describe.each(Object.keys(models))("%s", (name) => {
  test("every method gives what was planned, leaves the model as it was, and holds nothing back", async () => {
    const model = await made(name), before = await answer(model), texts = await data, kept = await contents(model)
    for (const [what, method] of named) {
      const held = liveBytes(), p = plan(model, all(method, model)), { model: small, report } = await p.run(texts).result
      // How many columns inputs reach far in, data tells.
      if (method.name === "LLM.int8()") expect(small.bytes, what).toBeGreaterThanOrEqual(p.bytesAfter)
      else expect(small.bytes, what).toBe(p.bytesAfter)
      expect(report.entries.map((e) => [e.path, e.bytesAfter]), what).toEqual(report.entries.map((e) => [e.path, small.weights[e.path]!.bytes]))
      for (const e of report.entries) expect(Number.isFinite(e.weightError), `${what} ${e.path}`).toBe(true)
      const after = await answer(small)
      expect(after.length).toBe(before.length)
      expect(after.every(Number.isFinite), what).toBe(true)
      release(small, model)
      expect(liveBytes() - held, what).toBe(0)
    }
    expect(await answer(model)).toEqual(before)
    expect(await contents(model)).toEqual(kept)
    for (const t of tensorsOf(model)) t.dispose()
  }, 60_000)
})

test("a recipe that was written down does the same", async () => {
  const model = await made("llama, odd"), texts = await data
  for (const [what, method] of named) {
    const recipe = quantize({ default: method }), again = parseRecipe(JSON.parse(JSON.stringify(recipe)) as unknown)
    const [a, b] = [(await plan(model, recipe).run(texts).result).model, (await plan(model, again).run(texts).result).model]
    expect(await contents(b), what).toEqual(await contents(a))
    for (const m of [a, b]) release(m, model)
  }
  for (const t of tensorsOf(model)) t.dispose()
}, 60_000)

test("stopped after any event, nothing is held; and it goes on from its checkpoint to the same bytes", async () => {
  const model = await made("llama, odd"), texts = await data
  let count = 0
  await fc.assert(fc.asyncProperty(fc.constantFrom(...named), fc.constantFrom("matrices", "blocks"), fc.boolean(), fc.nat({ max: 20 }), async ([what, method], sequence, turned, at) => {
    const recipe: Recipe = [...(turned ? [rotated({ seed: 2 })] : []), quantize({ default: method, rules: [on("lm_head", method)], sequence: sequence as "blocks" })], checkpoint = join(folder, String(count++))
    const whole = (await plan(model, recipe).run(texts).result).model, wanted = await contents(whole), held = liveBytes(), control = new AbortController()
    const job = plan(model, recipe).run(texts, { checkpoint, signal: control.signal })
    let seen = 0, ended = true
    try {
      for await (const _ of job) if (seen++ === at) control.abort()
    } catch (e) {
      ended = false
      expect((e as Error).name, what).toBe("AbortError")
    }
    if (!ended) expect(liveBytes() - held, what).toBe(0)
    const again = (await plan(model, recipe).run(texts, { checkpoint }).result).model
    expect(await contents(again), what).toEqual(wanted)
    for (const m of [whole, again, ...(ended ? [(await job.result).model] : [])]) release(m, model)
  }), { numRuns: 12 })
  for (const t of tensorsOf(model)) t.dispose()
}, 60_000)

test("calibration with a NaN ends with an error that names the place, whatever the method; nothing is held", async () => {
  const whole = await made("llama, odd"), path = "model.layers.1.input_layernorm.weight", model = whole.with({ [path]: tensor(Float32Array.from({ length: 18 }, (_, i) => (i === 3 ? NaN : 1))) }), texts = await data, held = liveBytes()
  for (const [what, method] of named) {
    if (method.observes === undefined && method.balance === undefined) continue
    await expect(plan(model, quantize({ default: method })).run(texts).result, what).rejects.toThrow(/model\.layers\.1\.self_attn\.[qkv]_proj is not finite in calibration sequences/)
    expect(liveBytes() - held, what).toBe(0)
  }
}, 60_000)
