import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { softmax, tensor } from "@thimble/core"
import type { GgmlName } from "@thimble/formats"
import { open } from "@thimble/kernels"
import { loadModel, saveModel, type Model } from "@thimble/models"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { openLlamaCpp } from "../llama-cpp.ts"
import { randomLlama, storedAs } from "../random-llama.ts"

let folder: string, model: Model
const measured: string[] = []
beforeAll(async () => {
  await open("wasm")
  folder = await mkdtemp(join(tmpdir(), "thimble-interop-"))
  model = await randomLlama()
})
afterAll(async () => {
  console.log(`largest difference of a probability\n${measured.join("\n")}`)
  await rm(folder, { recursive: true })
})

/** Largest difference of probabilities: llama.cpp computes F32 as it is here, rounds what meets F16 to F16, and what meets blocks to 8 bits. */
const bounds: readonly (readonly [type: GgmlName, bound: number])[] = [["F32", 1e-5], ["F16", 1e-3], ["Q8_0", 1e-2], ["Q4_0", 1e-2], ["Q4_K", 1e-2], ["Q6_K", 1e-2]]
const prompt = [1, 300, 310, 5, 66, 7, 400, 260, 9, 13], count = 32

/** Probabilities [vocabulary] of what follows each of the last tokens of a text. */
async function probabilitiesOf(model: Model, ids: readonly number[], last: number): Promise<Float64Array[]> {
  using at = tensor([[...ids]], { dtype: "i32" })
  using p = softmax(model.forward(at))
  const all = await p.data(), { vocabulary } = model.config
  return Array.from({ length: last }, (_, i) => Float64Array.from(all.subarray((ids.length - last + i) * vocabulary, (ids.length - last + i + 1) * vocabulary)))
}
const largestDifference = (a: readonly Float64Array[], b: readonly Float64Array[]): number =>
  Math.max(...a.flatMap((row, i) => Array.from(row, (v, id) => Math.abs(v - b[i]![id]!))))

describe.each(bounds)("a model of random weights in %s, written here, read by llama.cpp", (type, bound) => {
  test(`gives the same tokens, with probabilities that differ by no more than ${bound}`, async () => {
    const path = join(folder, `${type}.gguf`)
    await saveModel(await storedAs(model, type), path)
    await using theirs = await openLlamaCpp(path, { contextSize: 256, vocabulary: 512 })
    const { ids, probabilities } = await theirs.continuation(prompt, count)
    expect(new Set(ids).size).toBeGreaterThan(20)
    // What meets packed weights as it is, and rounded to 8 bits as llama.cpp does, though in groups of other sizes.
    for (const activations of type.startsWith("F") ? ["f32" as const] : ["f32" as const, "int8" as const]) {
      const ours = await loadModel(path, { activations })
      expect((await ours.generate(prompt, { maxTokens: count, stopTokens: [] }).done()).ids).toEqual(ids)
      const difference = largestDifference(probabilities, await probabilitiesOf(ours, [...prompt, ...ids.slice(0, -1)], count))
      measured.push(`${type.padEnd(4)}  ${activations.padEnd(4)} activations here  ${difference.toExponential(1)}`)
      expect(difference).toBeLessThan(bound)
    }
  })
})

test("texts are the same tokens", async () => {
  const path = join(folder, "tokens.gguf")
  await saveModel(model, path)
  await using theirs = await openLlamaCpp(path, { contextSize: 64, vocabulary: 512 })
  // Of spaces side by side, and around a text, sentencepiece leaves out all but one where a model says so; llama.cpp never does.
  for (const text of ["abc", "hello world", "Once upon a time, there was a little girl.", "Zürich\n\n日本 🦊", ""]) expect([text, theirs.tokens(text)]).toEqual([text, model.tokenizer!.encode(text)])
})
