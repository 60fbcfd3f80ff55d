import { compile, leavesOf, quantizeWeight, sgd, stateDict, tensor, tensorsOf, valueAndGrad, zeros, crossEntropy, type Tensor } from "@thimble/core"
import { ggml, openSafetensors, saveSafetensors } from "@thimble/formats"
import { open } from "@thimble/kernels"
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { architectures, createModel, expectedTensors, ggufNames, loadModel, readConfig, writeConfig, type Model } from "../src/index.ts"
import { small, smallModel } from "./random-model.ts"

const out = mkdtempSync(join(tmpdir(), "thimble-model-"))
const fixture = fileURLToPath(new URL("../fixtures/models/llama/", import.meta.url))
afterAll(() => rmSync(out, { recursive: true }))
beforeAll(async () => {
  await open("wasm", { threads: 1 })
  ids = tensor(Int32Array.from([3, 9, 1, 30]), { shape: [1, 4] })
})
let ids: Tensor

describe("as a value", () => {
  test("a branch of a tree: tensors by their names in checkpoints", () => {
    const model = smallModel("llama")
    expect(Object.keys(stateDict(model)).sort()).toEqual(expectedTensors(model.config).map((t) => t.name).sort())
    expect([model.size, tensorsOf(model).length]).toEqual([tensorsOf(model).reduce((n, t) => n + t.size, 0), expectedTensors(model.config).length])
  })

  test("compiled functions take models; other weights are the same program, other formats another", async () => {
    const model = smallModel("llama", { hidden_size: 32, intermediate_size: 32 }), name = "model.layers.0.mlp.up_proj"
    const run = compile((m: Model, ids: Tensor) => m.forward(ids))
    const zeroed = model.with({ [name]: quantizeWeight(ggml.Q8_0, new Float32Array(1024), [32, 32]) })
    for (const m of [model, smallModel("llama", { hidden_size: 32, intermediate_size: 32 }), zeroed]) expect(await (await run(m, ids)).data()).toEqual(await m.forward(ids).data())
    expect(run.programs).toBe(2)
    // The old model is as it was.
    expect(model.weights[name]!.storage).toBe("f32")
  })

  test("optimizers take models", async () => {
    let model = smallModel("qwen2")
    const optimizer = sgd({ rate: 0.05 }), labels = tensor(Int32Array.from([9, 1, 30, 2]), { shape: [1, 4] })
    const loss = valueAndGrad((m: Model) => crossEntropy(m.forward(ids), labels))
    const losses: number[] = []
    for (let i = 0; i < 5; i++) {
      const { value, grads } = loss(model)
      losses.push(await value.item())
      model = optimizer.update(model, grads, optimizer.init(model)).parameters as Model
    }
    expect(losses.at(-1)!).toBeLessThan(losses[0]! / 2)
    expect(leavesOf(model).every(({ tensor: t }) => !t.disposed)).toBe(true)
  })

  test("what does not fit is listed in one error", () => {
    const model = smallModel("llama"), parameters = { ...model.weights, ...model.vectors }
    const { "model.norm.weight": _, "lm_head": __, ...less } = parameters
    expect(() => createModel(model.config, { ...less, "model.extra": model.weights.lm_head!, "model.layers.0.input_layernorm.weight": zeros([3]) })).toThrow(
      "createModel: missing: model.norm.weight, lm_head; unknown: model.extra; unfit: model.layers.0.input_layernorm.weight is [3], not [16]; the architecture is llama")
    expect(() => model.with({ "lm_head.weight": zeros([40, 16]) })).toThrow("unknown: lm_head.weight")
  })
})

describe("files", () => {
  /** A model's directory with other tensors. */
  async function changed(name: string, change: (tensors: Record<string, Tensor>) => void): Promise<string> {
    const folder = join(out, name)
    mkdirSync(folder)
    cpSync(join(fixture, "config.json"), join(folder, "config.json"))
    await using file = await openSafetensors(join(fixture, "model.safetensors"))
    const tensors = await file.tensors()
    change(tensors)
    await saveSafetensors(join(folder, "model.safetensors"), tensors)
    return folder
  }
  test("missing and unknown tensors: every name", async () => {
    const folder = await changed("names", (t) => {
      delete t["model.norm.weight"]
      delete t["model.layers.1.mlp.up_proj.weight"]
      t["model.layers.2.mlp.up_proj.weight"] = zeros([2])
      t["some.other"] = zeros([2])
      t["model.layers.0.self_attn.rotary_emb.inv_freq"] = zeros([2])
    })
    await expect(loadModel(folder)).rejects.toThrow(/model\.safetensors: has no model\.layers\.1\.mlp\.up_proj\.weight, model\.norm\.weight; has the unknown model\.layers\.2\.mlp\.up_proj\.weight, some\.other; the architecture is llama/)
  })
  test("a tensor of another shape", async () => {
    const folder = await changed("shape", (t) => void (t["model.norm.weight"] = zeros([8])))
    await expect(loadModel(folder)).rejects.toThrow("tensor 'model.norm.weight' is [8], not [16]; does config.json belong to it?")
  })
  test("progress, and an end to it", async () => {
    const seen: number[] = []
    await loadModel(fixture, { onProgress: ({ done, total }) => seen.push(done / total) })
    expect([seen.length, seen.at(-1)]).toEqual([expectedTensors(readConfig(small.llama!)).length, 1])
    const control = new AbortController()
    await expect(loadModel(fixture, { signal: control.signal, onProgress: ({ done }) => done === 3 && control.abort() })).rejects.toThrow("aborted")
  })
  test("what is no model", async () => {
    await expect(loadModel(out)).rejects.toThrow("has no config.json; is it the directory of a model?")
    await expect(loadModel(join(fixture, "config.json"))).rejects.toThrow("config.json is a part of a model; load the directory that it is in")
    const folder = join(out, "other")
    mkdirSync(folder)
    const json = (value: object): void => writeFileSync(join(folder, "config.json"), JSON.stringify(value))
    for (const [value, problem] of [
      [{}, "'model_type' is missing"],
      [{ model_type: "mamba" }, "'model_type' is 'mamba'; known are llama, mistral"],
      [{ ...small.llama, hidden_size: "16" }, `'hidden_size' is "16", not a number`],
      [{ ...small.llama, num_hidden_layers: 1e12 }, "'num_hidden_layers' is 1000000000000, not a whole number from 1"],
      [{ ...small.llama, num_key_value_heads: 3 }, "'num_key_value_heads' is 3, which does not divide 4 heads"],
      [{ ...small.llama, hidden_act: "sine" }, "'hidden_act' is 'sine'; known are silu"],
      [{ ...small.llama, rope_scaling: { rope_type: "spiral" } }, "rope_scaling: 'rope_type' is 'spiral'; known are default, linear"],
      [{ ...small.phi3, rope_scaling: { type: "longrope", short_factor: [1], long_factor: [1] } }, "'short_factor' has 1 elements for 2 pairs of features"],
      [small.llama, "has no model.safetensors, and no model.safetensors.index.json"],
    ] as const) {
      json(value!)
      await expect(loadModel(folder)).rejects.toThrow(problem)
    }
  })
})

describe.each(architectures.map((a) => a.name))("%s: config.json both ways", (name) => {
  const fixtures = fileURLToPath(new URL("../fixtures/models/", import.meta.url))
  test("what is written says the same", () => {
    const all = ["llama", "llama-biases", "llama-linear", "llama3", "llama-yarn", "mistral", "qwen2", "qwen2-window", "qwen3", "phi", "phi3-long", "gemma2", "gpt2", "gpt-neox", "gpt-neox-serial", "bert", "distilbert"]
      .map((folder) => JSON.parse(readFileSync(`${fixtures}${folder}/config.json`, "utf8")) as Record<string, unknown>).filter((json) => json.model_type === name)
    expect(all.length).toBeGreaterThan(0)
    for (const json of all) expect(readConfig(writeConfig(readConfig(json)))).toEqual(readConfig(json))
  })
  test("names in GGUF files are all different", () => {
    if (!(name in small)) return
    const names = [...ggufNames(readConfig(small[name]!)).values()]
    expect(new Set(names).size).toBe(names.length)
  })
})
