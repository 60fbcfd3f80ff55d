import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { softmax, tensor } from "@thimble/core"
import { open } from "@thimble/kernels"
import { keepBlocks, keepChannels, loadModel, saveModel, type KeptByLayer, type Model } from "@thimble/models"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { openLlamaCpp } from "../llama-cpp.ts"
import { randomLlama } from "../random-llama.ts"

let folder: string, model: Model
beforeAll(async () => {
  await open("wasm")
  folder = await mkdtemp(join(tmpdir(), "thimble-pruned-"))
  model = await randomLlama()
})
afterAll(() => rm(folder, { recursive: true }))

const some = (count: number, keep: (i: number) => boolean): number[] => Array.from({ length: count }, (_, i) => i).filter(keep)
const alike = { heads: [0, 2, 3], hidden: some(512, (i) => i % 4 !== 1) }
const prompt = [1, 300, 310, 5, 66, 7, 400, 260, 9, 13], count = 16

describe.each<[string, (model: Model) => Model | Promise<Model>]>([
  ["without a head of keys and values, and a quarter of the hidden features", (m) => keepChannels(m, { 0: alike, 1: alike } satisfies KeptByLayer)],
  ["whose blocks have shapes of their own", (m) => keepChannels(m, { 0: alike, 1: { heads: [1, 2], hidden: some(512, (i) => i % 2 === 0) } } satisfies KeptByLayer)],
  ["without a block", (m) => keepBlocks(m, [1])],
])("a Llama %s", (name, prune) => {
  test("is read by llama.cpp, and gives the same tokens with the same probabilities", async () => {
    const path = join(folder, `${name.length}.gguf`), pruned = await prune(model)
    await saveModel(pruned, path)
    await using theirs = await openLlamaCpp(path, { contextSize: 256, vocabulary: 512 })
    const { ids, probabilities } = await theirs.continuation(prompt, count), ours = await loadModel(path)
    expect((await ours.generate(prompt, { maxTokens: count, stopTokens: [] }).done()).ids).toEqual(ids)
    const all = [...prompt, ...ids.slice(0, -1)]
    using at = tensor([all], { dtype: "i32" })
    using p = softmax(ours.forward(at))
    const values = await p.data()
    probabilities.forEach((row, i) => row.forEach((v, id) => expect(Math.abs(v - Number(values[(prompt.length - 1 + i) * 512 + id]))).toBeLessThan(1e-5)))
  })
})
