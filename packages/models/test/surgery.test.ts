import { mkdtemp, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { tensor, type Tensor } from "@thimble/core"
import { open } from "@thimble/kernels"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { blockShape, createCache, expectedTensors, keepBlocks, keepChannels, loadModel, maskChannels, saveModel, type KeptByLayer, type Model } from "../src/index.ts"
import { small, smallEncoders, smallModel } from "./random-model.ts"

let folder: string, ids: Tensor
beforeAll(async () => {
  await open("wasm", { threads: 1 })
  folder = await mkdtemp(join(tmpdir(), "thimble-surgery-"))
  ids = tensor(Int32Array.from([3, 9, 1, 30, 22, 7, 12, 33]), { shape: [1, 8] })
})
afterAll(() => rm(folder, { recursive: true }))

const logits = async (model: Model): Promise<Float32Array> => (await model.forward(ids).data()) as Float32Array
const apart = (a: Float32Array, b: Float32Array): number => a.reduce((m, v, i) => Math.max(m, Math.abs(v - b[i]!)), 0)
/** One head (with all that share it) and a few hidden features fewer; blocks alike, or each otherwise. */
const fewer = (model: Model, alike: boolean): KeptByLayer => Object.fromEntries(Array.from({ length: model.config.layers }, (_, layer) => {
  const { kvHeads, hidden } = blockShape(model.config, layer), gone = alike ? 5 : 5 + 3 * layer
  return [layer, { ...((alike || layer === 1) && { heads: Array.from({ length: kvHeads }, (_, h) => h).filter((h) => h !== 1) }), hidden: Array.from({ length: hidden }, (_, i) => i).filter((i) => i % 2 === 0 || i > 2 * gone) }]
}))
const elements = ({ config }: Model): number => expectedTensors(config).reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0)
const names = [...Object.keys(small), ...Object.keys(smallEncoders)]

describe.each(names)("%s", (name) => {
  test.each([["alike", true], ["each block otherwise", false]] as const)("left out is as multiplied with zeros: %s", async (_how, alike) => {
    const model = smallModel(name), kept = fewer(model, alike), compact = await keepChannels(model, kept), masked = await maskChannels(model, kept)
    const [own, same] = [await logits(compact), await logits(masked)]
    expect(apart(own, same)).toBeLessThan(1e-5)
    expect(apart(own, await logits(model))).toBeGreaterThan(1e-3)
    expect(compact.config.shapes === undefined).toBe(alike)
    expect(compact.size).toBe(elements(compact))
    expect(compact.size).toBeLessThan(model.size)
    expect(compact.config.headSize).toBe(model.config.headSize)
  })
  test("a directory gives back the shapes, and the same logits", async () => {
    for (const alike of [true, false]) {
      const model = smallModel(name), compact = await keepChannels(model, fewer(model, alike)), path = join(folder, `${name}-${alike}`)
      await saveModel(compact, path)
      const again = await loadModel(path)
      expect(again.config).toEqual(compact.config)
      expect(apart(await logits(again), await logits(compact))).toBe(0)
    }
  })
})

describe.each(Object.keys(small))("%s", (name) => {
  test("a step through the cache is as the whole sequence", async () => {
    const model = smallModel(name), compact = await keepChannels(model, fewer(model, false)), whole = await logits(compact)
    const parts: number[] = []
    let cache = createCache(compact, { length: 8 })
    for (let i = 0; i < 8; i++) {
      const at = tensor(Int32Array.from([[3, 9, 1, 30, 22, 7, 12, 33][i]!]), { shape: [1, 1] })
      const step = compact.step(at, cache, { position: i === 0 ? 0 : tensor(i, { dtype: "i32" }) })
      cache = step.cache
      parts.push(...((await step.logits.data()) as Float32Array))
    }
    expect(apart(Float32Array.from(parts), whole)).toBeLessThan(2e-5)
    const { ids: made } = await compact.generate([3, 9, 1], { maxTokens: 4, stopTokens: [] }).done()
    expect(made).toHaveLength(4)
  })
})

describe("GGUF", () => {
  test.each(["llama", "mistral", "qwen3", "gemma2"])("%s: fewer heads and channels in all blocks come back", async (name) => {
    const model = smallModel(name), compact = await keepChannels(model, fewer(model, true)), path = join(folder, `${name}.gguf`)
    await saveModel(compact, path)
    const again = await loadModel(path)
    expect(apart(await logits(again), await logits(compact))).toBe(0)
    expect([again.config.heads, again.config.kvHeads, again.config.hidden]).toEqual([2, 1, compact.config.hidden])
  })
  test("Llama with blocks of shapes of their own comes back", async () => {
    const model = smallModel("llama"), compact = await keepChannels(model, fewer(model, false)), path = join(folder, "each.gguf")
    await saveModel(compact, path)
    const again = await loadModel(path)
    expect(again.config.shapes).toEqual(compact.config.shapes)
    expect(apart(await logits(again), await logits(compact))).toBe(0)
    await saveModel(again, join(folder, "again.gguf"))
    expect(await readFile(join(folder, "again.gguf"))).toEqual(await readFile(path))
  })
  test("what no reader would read is refused", async () => {
    const qwen3 = smallModel("qwen3"), gpt2 = smallModel("gpt2"), path = join(folder, "none.gguf")
    await expect(saveModel(await keepChannels(qwen3, fewer(qwen3, false)), path)).rejects.toThrow(/same heads and hidden features in all layers/)
    await expect(saveModel(await keepChannels(gpt2, fewer(gpt2, true)), path)).rejects.toThrow(/heads of width\/heads features/)
  })
})

describe("blocks", () => {
  test.each(names)("%s: the model without a block is its other blocks", async (name) => {
    const model = smallModel(name, { [{ gpt2: "n_layer", distilbert: "n_layers" }[name] ?? "num_hidden_layers"]: 4 }), short = keepBlocks(model, [0, 2, 3])
    const blocks = model.blocks(), stream = [0, 2, 3].reduce((x, i) => blocks[i]!.forward(x), model.embed(ids))
    expect(apart(await logits(short), (await model.head(stream).data()) as Float32Array)).toBeLessThan(1e-6)
    expect(short.config.layers).toBe(3)
    const path = join(folder, `short-${name}`)
    await saveModel(short, path)
    expect((await loadModel(path)).config).toEqual(short.config)
  })
  test("there must be some, and they must be there", () => {
    expect(() => keepBlocks(smallModel("llama"), [])).toThrow(/no blocks/)
    expect(() => keepBlocks(smallModel("llama"), [2])).toThrow(/no block 2/)
  })
})
