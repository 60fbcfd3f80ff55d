import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { memory, random, tensor, tensorsOf, type Device } from "@thimble/core"
import { curve } from "@thimble/distill"
import { openSafetensors, openTokenizer, type Tokenizer } from "@thimble/formats"
import { open } from "@thimble/kernels"
import { evaluate, loadModel, perplexity } from "@thimble/models"
import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { learnVocabulary, spelling, words } from "../train/bpe.ts"
import { openCheckpoint, saveCheckpoint } from "../train/checkpoint.ts"
import { asModel, exportModel } from "../train/export.ts"
import { train, type TrainOptions } from "../train/loop.ts"
import { forward, initialize } from "../train/model.ts"
import { plain, prose, tokens } from "../train/text.ts"
import { endOfText, learnTokenizer } from "../train/tokenizer.ts"

let folder: string, device: Device
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "thimble-"))
  device = await open("wasm", { threads: 1 })
})
afterAll(async () => {
  await device.close()
  await rm(folder, { recursive: true })
})

const sample = "The whale saw the other whale; the other whales saw the ships. It's 1851, and they'll sail the seven seas—over and over.\nThe end."
async function learned(text: string, size: number): Promise<Tokenizer> {
  const { tokenizer, config } = learnTokenizer([text], size)
  const [json, settings] = [tokenizer, config].map((x) => new Blob([JSON.stringify(x)]))
  return openTokenizer(json!, { config: settings! })
}

describe("the vocabulary", () => {
  test("is made of the most frequent pair, again and again", () => {
    // Counted by hand: "aaabdaaabac" is one word, in which "aa" occurs 4 times, then "a" + "b" twice, and so on.
    const { tokens, merges } = learnVocabulary(["aaabdaaabac"], 259)
    expect(merges).toEqual([["a", "a"], ["a", "b"], ["aa", "ab"]])
    expect(tokens.slice(256)).toEqual(["aa", "ab", "aaab"])
  })
  test("never joins what the cut into words keeps apart", () => {
    const cut = [...sample.repeat(3).matchAll(words)].map(([word]) => Buffer.from(word))
    for (const t of learnVocabulary([sample.repeat(3)], 300).tokens) {
      const bytes = Buffer.from([...t].map((c) => spelling.indexOf(c)))
      expect(bytes.length === 1 || cut.some((word) => word.includes(bytes))).toBe(true)
    }
  })
  test("gives the same again, and says when a text is too short for it", () => {
    expect(learnVocabulary([sample], 270)).toEqual(learnVocabulary([sample], 270))
    expect(() => learnVocabulary(["ab"], 300)).toThrow(/pairs for 256 tokens only/)
  })
})

describe("the tokenizer", () => {
  test("gives every text back, and knows where texts begin and end", async () => {
    const tokenizer = await learned(sample, 276)
    const end = tokenizer.idOf(endOfText)!
    expect([tokenizer.size, tokenizer.bos, tokenizer.eos, end]).toEqual([276, 275, 275, 275])
    expect(tokenizer.encode("the whale", { wrap: true })[0]).toBe(end)
    expect(tokenizer.encode(endOfText)).not.toContain(end)
    fc.assert(fc.property(fc.string({ unit: "grapheme" }), (text) => tokenizer.decode(tokenizer.encode(text)) === text))
    expect(tokenizer.encode(sample).length).toBeLessThan(sample.length * 0.8)
  })
  test("merges in the order that was learned", async () => {
    const tokenizer = await learned("aaabdaaabac", 260)
    expect(tokenizer.encode("aaabdaaabac").map((id) => tokenizer.tokenOf(id))).toEqual(["aaab", "d", "aaab", "a", "c"])
  })
})

describe("the prose", () => {
  test("holds out whole documents of both texts, and the rest is trained on", async () => {
    const { training, heldOut } = await prose()
    const names = [...training, ...heldOut].map((d) => `${d.source} ${d.name}`)
    expect(new Set(names).size).toBe(136 + 233)
    expect([...new Set(heldOut.map((d) => d.source))]).toEqual(["Moby Dick", "State of the Union"])
    expect(heldOut).toHaveLength(Math.floor(136 / 20) + Math.floor(233 / 20))
    expect(training[0]!.text).toMatch(/^CHAPTER 1\. Loomings\.\nCall me Ishmael\. Some years ago—never mind how long precisely—having little/)
  })
  test("is made plain", () => expect(plain(" “A”  whale’s\tjaw \n\n  is\nwhite ")).toBe('"A" whale\'s jaw\nis\nwhite'))
  test("becomes tokens, as often as a document counts", async () => {
    const tokenizer = await learned(sample, 276), document = { source: "", name: "" }
    const made = tokens([{ ...document, text: "zq", times: 2 }, { ...document, text: "Q", times: 1 }], tokenizer, 275)
    const [q, Q, z] = Buffer.from("qQz")
    expect([...made]).toEqual([z, q, 275, z, q, 275, Q, 275])
  })
})

const config = { vocabulary: 276, width: 32, layers: 2, heads: 4, kvHeads: 2, hidden: 64, context: 16 }
const some = async (): Promise<TrainOptions & { begin: number }> => {
  const tokenizer = await learned(sample, 276)
  return { config, text: Int32Array.from(tokenizer.encode(sample.repeat(20))), begin: 275, seed: 3, batch: 2, warmup: 4, rate: 3e-3, steps: 20 }
}

describe("a checkpoint", () => {
  test("goes on as if nothing had happened", async () => {
    const options = await some()
    const whole = await train(options)
    const path = join(folder, "checkpoint.safetensors"), lines = [{ step: 8, loss: 5, perplexity: 1 / 3 }]
    const half = await train({ ...options, stop: 8, onEnd: (snapshot) => saveCheckpoint(path, { snapshot, settings: "s", lines }) })
    const initial = await initialize(config, random.key(99))
    const { snapshot, ...rest } = await openCheckpoint(path, initial)
    expect(snapshot.step).toBe(8)
    expect(rest).toEqual({ settings: "s", lines })
    const on = await train({ ...options, from: snapshot })
    expect([on.step, on.loss]).toEqual([whole.step, whole.loss])
    const values = (p: unknown): Promise<unknown[]> => Promise.all(tensorsOf(p).map((t) => t.data()))
    expect(await values(on.parameters)).toEqual(await values(whole.parameters))
    for (const t of tensorsOf([whole.parameters, half.parameters, on.parameters, initial])) t.dispose()
  })
})

describe("the exported model", () => {
  test("is the model that was trained, rounded to bf16, by the names of transformers", async () => {
    const options = await some(), before = memory().tensors
    const { parameters } = await train(options)
    const path = join(folder, "model")
    await exportModel(path, parameters, config, 275, learnTokenizer([sample], 276))
    await using file = await openSafetensors(join(path, "model.safetensors"))
    expect(file.entries.size).toBe(2 + 9 * config.layers)
    expect(file.entries.get("model.layers.1.self_attn.k_proj.weight")).toMatchObject({ dtype: "BF16", shape: [16, 32] })
    expect(JSON.parse(await readFile(join(path, "config.json"), "utf8"))).toMatchObject({ architectures: ["LlamaForCausalLM"], num_key_value_heads: 2, tie_word_embeddings: true, bos_token_id: 275 })

    const loaded = await loadModel(path), trained = asModel(parameters, config)
    expect([loaded.config.bos, loaded.config.eos, loaded.tokenizer?.bos]).toEqual([275, [275], 275])
    const metrics = [perplexity([...options.text].slice(0, 150), { bos: 275 })] as const
    const [exact, short] = [await evaluate(trained, { metrics }), await evaluate(loaded, { metrics })].map((r) => r.results[0])
    expect(exact!.protocol).toMatchObject({ scored: 150, context: 16, stride: 15, bos: 275 })
    expect(exact!.perplexity).toBeLessThan(276)
    expect(Math.abs(exact!.value - short!.value)).toBeLessThan(0.02)
    for (const t of tensorsOf([parameters, loaded])) t.dispose()
    expect(memory().tensors).toBe(before)
  })
  test("computes in `models` what it computed in training", async () => {
    const parameters = await initialize(config, random.key(5)), ids = tensor(Int32Array.from({ length: 32 }, (_, i) => (i * 37) % 276), { shape: [2, 16] })
    const [written, loaded] = [forward(parameters, config, ids), asModel(parameters, config).forward(ids)]
    const [a, b] = [await written.data(), await loaded.data()]
    expect(Math.max(...a.map((v, i) => Math.abs(v - b[i]!)))).toBeLessThan(1e-5)
    for (const t of [...tensorsOf(parameters), ids, written, loaded]) t.dispose()
  })
})

test("a curve goes from its first to its last point", async () => {
  const svg = curve([{ name: "a", color: "red", points: [[0, 2], [50, 1], [100, 0]] }], { x: "step", y: "loss" })
  expect(svg).toContain('points="64,16 384,184 704,352"')
})
