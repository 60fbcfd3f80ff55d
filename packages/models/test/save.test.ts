import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { memory, quantizeWeight, tensor } from "@thimble/core"
import { ggml, openGguf, openSafetensors, openTokenizer } from "@thimble/formats"
import { open } from "@thimble/kernels"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { byteTokenizerJson } from "../../formats/test/tokenizer-files.ts"
import { createModel, loadModel, saveModel, type Model } from "../src/index.ts"
import { smallModel } from "./random-model.ts"

const folder = fileURLToPath(new URL("../fixtures/models/", import.meta.url))
const stories = new URL("../../formats/fixtures/stories260K/", import.meta.url)
const names = readdirSync(folder)
const out = mkdtempSync(join(tmpdir(), "thimble-models-"))

beforeAll(async () => {
  await open("wasm", { threads: 1 })
})
afterAll(() => rmSync(out, { recursive: true }))

/** Logits of the tokens that the golden files ask about. */
async function answer(model: Model, name: string): Promise<Float32Array> {
  await using file = await openSafetensors(`${folder}${name}/answer.safetensors`)
  return (await (model.config.headless ? model.hidden : model.forward)((await file.tensor("ids")).reshape([1, -1])).data()) as Float32Array
}
const apart = (a: Float32Array, b: Float32Array): number => Math.max(Math.abs(a.length - b.length), ...a.map((v, i) => Math.abs(v - b[i]!)))
const contents = (path: string): Record<string, string> => Object.fromEntries(readdirSync(path).sort().map((file) => [file, readFileSync(join(path, file)).toString("base64")]))

describe.each(names)("%s", (name) => {
  test("directory → model → directory: the same files, the same answers", async () => {
    const model = await loadModel(folder + name), [a, b] = [join(out, `${name}-a`), join(out, `${name}-b`)]
    await saveModel(model, a)
    const again = await loadModel(a)
    await saveModel(again, b)
    expect(contents(b)).toEqual(contents(a))
    expect(contents(a)["config.json"]).toEqual(contents(folder + name)["config.json"])
    expect(apart(await answer(model, name), await answer(again, name))).toBe(0)
  })

  test("directory → GGUF → model: the same answers; → GGUF: the same bytes; → directory: the same answers", async () => {
    const loaded = await loadModel(folder + name)
    // llama.cpp's encoders have no head that fills in words.
    const model = loaded.config.architecture.endsWith("bert") ? loaded.withoutHead() : loaded
    const [a, b, c] = [join(out, `${name}-a.gguf`), join(out, `${name}-b.gguf`), join(out, `${name}-c`)]
    await saveModel(model, a)
    const again = await loadModel(a), want = await answer(model, name)
    expect(apart(await answer(again, name), want)).toBeLessThan(1e-5)
    await saveModel(again, b)
    expect(readFileSync(b).equals(readFileSync(a))).toBe(true)
    await saveModel(again, c)
    expect(apart(await answer(await loadModel(c), name), want)).toBeLessThan(1e-5)
  })
})

test("blocks stay packed on the way, rows of queries and keys among them", async () => {
  const model = await loadModel(`${folder}llama3`), encoded: Record<string, ReturnType<typeof quantizeWeight>> = {}
  for (const [name, w] of Object.entries(model.weights)) if (w.shape[1] % 32 === 0) encoded[name] = quantizeWeight(name.endsWith("v_proj") ? ggml.Q4_0 : ggml.Q8_0, (await w.dense().data()) as Float32Array, w.shape)
  const packed = model.with(encoded), path = join(out, "packed.gguf")
  await saveModel(packed, path)
  const again = await loadModel(path)
  expect(again.weights["model.layers.0.self_attn.q_proj"]!.storage).toBe(ggml.Q8_0)
  expect(Object.values(again.weights).map((w) => w.bytes)).toEqual(Object.values(packed.weights).map((w) => w.bytes))
  for (const name of ["model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.k_proj", "model.layers.0.mlp.down_proj"])
    expect(await again.weights[name]!.dense().data()).toEqual(await packed.weights[name]!.dense().data())
  expect(apart(await answer(again, "llama3"), await answer(packed, "llama3"))).toBeLessThan(1e-5)
  // In the file, the rows of queries are in the order of pairs that llama.cpp expects.
  await using file = await openGguf(path)
  const stored = (await (await file.weight("blk.0.attn_q.weight")).dense().tolist()) as number[][], own = (await packed.weights["model.layers.0.self_attn.q_proj"]!.dense().tolist()) as number[][]
  expect([stored[0], stored[1], stored[2], stored[17]]).toEqual([own[0], own[8], own[1], own[24]])
  expect([file.metadata.get("general.file_type")?.value, file.metadata.get("general.quantization_version")?.value]).toEqual([7, 2])
  expect([...file.entries.keys()].slice(0, 3)).toEqual(["rope_freqs.weight", "token_embd.weight", "blk.0.attn_norm.weight"])
  await expect(saveModel(packed, join(out, "packed"))).rejects.toThrow(/saveModel: these weights are stored in ways .*: model\.embed_tokens, model\.layers\.0\.self_attn\.q_proj/)
  await saveModel(packed, join(out, "packed"), { dtype: "f16" })
  expect((await loadModel(join(out, "packed"))).weights["model.embed_tokens"]!.storage).toBe("f16")
})

test("saving keeps nothing on the device, whatever it converts", async () => {
  const loaded = await loadModel(`${folder}llama3`), name = "model.layers.0.self_attn.q_proj"
  const model = loaded.with({ [name]: quantizeWeight(ggml.Q8_0, (await loaded.weights[name]!.dense().data()) as Float32Array, [32, 32]) })
  const { bytes, tensors } = memory()
  await saveModel(model, join(out, "kept"), { dtype: "f16" })
  await saveModel(model, join(out, "kept.gguf"), { dtype: "bf16" })
  await saveModel(model, join(out, "kept-packed.gguf"))
  expect([memory().bytes, memory().tensors]).toEqual([bytes, tensors])
  expect(apart(await answer(await loadModel(join(out, "kept.gguf")), "llama3"), await answer(model, "llama3"))).toBeLessThan(0.1)
  await using file = await openGguf(join(out, "kept.gguf"))
  expect([...file.entries.values()].every((e) => e.type === (e.shape.length > 1 ? "BF16" : "F32"))).toBe(true)
})

test("shards, and what they leave behind", async () => {
  const model = await loadModel(`${folder}llama`), path = join(out, "shards")
  await saveModel(model, path)
  await saveModel(model, path, { shardBytes: 8000 })
  expect(readdirSync(path).sort()).toEqual(["config.json", "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors", "model.safetensors.index.json"])
  expect(apart(await answer(await loadModel(path), "llama"), await answer(model, "llama"))).toBe(0)
  await saveModel(model, path)
  expect(readdirSync(path).sort()).toEqual(["config.json", "model.safetensors"])
})

test("stories260K: its tokenizer goes with it, to GGUF and from there to tokenizer.json", async () => {
  const model = await loadModel(new URL("stories260K.bin", stories), { tokenizer: new URL("tok512.model", stories) })
  const [gguf, directory] = [join(out, "stories.gguf"), join(out, "stories")]
  await saveModel(model, gguf, { name: "stories" })
  const second = await loadModel(gguf)
  await saveModel(second, directory)
  const third = await loadModel(directory)
  const texts = ["Once upon a time, there was a little girl named Lily.", "", " two  spaces ", "café ☕ 🙂\n\ttabs", "<s>[INST]"]
  for (const other of [second, third]) {
    expect([other.tokenizer!.bos, other.tokenizer!.eos, other.tokenizer!.size]).toEqual([1, 2, 512])
    for (const text of texts) {
      expect(other.tokenizer!.encode(text, { wrap: true })).toEqual(model.tokenizer!.encode(text, { wrap: true }))
      expect(other.tokenizer!.decode(model.tokenizer!.encode(text))).toBe(model.tokenizer!.decode(model.tokenizer!.encode(text)))
    }
  }
  const ids = tensor(Int32Array.from(model.tokenizer!.encode(texts[0]!, { wrap: true }))).reshape([1, -1])
  const [a, b, c] = await Promise.all([model, second, third].map((m) => m.forward(ids).data()))
  expect([apart(a as Float32Array, b as Float32Array), apart(a as Float32Array, c as Float32Array)]).toEqual([0, 0])
  const [x, y] = [join(out, "stories2.gguf"), join(out, "stories-b")]
  await saveModel(second, x)
  expect(readFileSync(x).equals(readFileSync(gguf))).toBe(true)
  await saveModel(third, y)
  expect(contents(y)).toEqual(contents(directory))
})

test("a vocabulary on bytes, with rows to spare, and a template", async () => {
  const json = byteTokenizerJson(), files = new Map(Object.entries({
    "tokenizer.json": json, "tokenizer_config.json": { bos_token: "<|begin|>", eos_token: "<|end|>", chat_template: "{{ messages[0].content }}" },
  }).map(([name, value]) => [name, new TextEncoder().encode(JSON.stringify(value))]))
  const tokenizer = await openTokenizer(files.get("tokenizer.json")!, { config: files.get("tokenizer_config.json")! })
  const small = smallModel("qwen2", { vocab_size: tokenizer.size + 3 }), model = createModel(small.config, { ...small.weights, ...small.vectors }, { tokenizer, files })
  const [gguf, directory] = [join(out, "bytes.gguf"), join(out, "bytes")]
  await saveModel(model, gguf)
  await saveModel(await loadModel(gguf), directory)
  for (const other of [await loadModel(gguf), await loadModel(directory)]) {
    const own = other.tokenizer!
    expect([own.bos, own.eos, own.template, own.size]).toEqual([tokenizer.bos, tokenizer.eos, tokenizer.template, tokenizer.size + 3])
    for (const text of ["hello world 123 45\n\n", "é 🙂", "<|end|>"]) {
      expect(own.encode(text, { wrap: true })).toEqual(tokenizer.encode(text, { wrap: true }))
      expect(own.encode(text, { special: true })).toEqual(tokenizer.encode(text, { special: true }))
      expect(own.decode(tokenizer.encode(text))).toBe(text)
    }
  }
  await expect(saveModel(createModel(small.config, { ...small.weights, ...small.vectors }, { tokenizer }), gguf)).rejects.toThrow("saveModel: the model has a tokenizer, but not the file that it came from")
})
