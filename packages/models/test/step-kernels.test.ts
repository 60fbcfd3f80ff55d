// What a decoding step of small matrices of integer codes costs a device that has kernels for all of it: norms, gates and rounding are part of products.
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { argmax, compile, quantizeWeight, realize, referenceDevice, tensor, useDevice, type Device, type Tensor } from "@thimble/core"
import { ggml } from "@thimble/formats"
import { createCache, type LayerCache, type Model } from "../src/index.ts"
import { smallModel } from "./random-model.ts"

const outer = referenceDevice()
const products = ["quantizedMatmul", "rmsNormQuantizedMatmul", "layerNormQuantizedMatmul"], kernels = ["attention", "rmsNorm", "layerNorm", ...products]
/** Runs nothing. */
const device: Device = {
  ...outer, accepts: (name) => kernels.includes(name), pairs: (name) => products.includes(name),
  prepare: (all) => Promise.resolve(all.map((kernel) => ({ kernel }))), run: () => {},
}
beforeAll(() => void useDevice(device))
afterAll(() => void useDevice(outer))

/** A model whose matrices are stored in 8 bits. */
async function stored(model: Model): Promise<Model> {
  const made = Object.fromEntries(Object.entries(model.weights).map(([path, { shape }]) => [path, quantizeWeight(ggml.Q8_0, new Float32Array(shape[0] * shape[1]), shape, { activations: "int8" })]))
  await realize(...Object.values(model.vectors))
  return model.with(made)
}
/** The kernels of a step, by their ops, in order. */
async function stepOf(architecture: string, layers: number): Promise<string[]> {
  const sizes = architecture === "gpt2" ? { n_embd: 64, n_layer: layers } : { hidden_size: 64, intermediate_size: 96, num_hidden_layers: layers }
  const model = await stored(smallModel(architecture, sizes))
  const step = compile((layers: readonly LayerCache[], ids: Tensor, position: Tensor) => {
    const { logits, cache } = model.step(ids, { layers }, { position, count: tensor(1, { dtype: "i32" }) })
    return { next: argmax(logits, { axis: -1 }), layers: cache.layers }
  }, { donate: [0] })
  await step(createCache(model, { length: 32 }).layers, tensor(Int32Array.of(1), { shape: [1, 1] }), 3n as never)
  return step.show().split("\n").flatMap((line) => /= (\w+) \[/.exec(line)?.[1] ?? [])
}

describe("a layer asks for one kernel each of", () => {
  test.each([
    // Queries, keys and values, both into the cache, attention, output, gate and up, down.
    ["llama", 9, { rmsNormQuantizedMatmul: 4, map: 2, attention: 1, quantizedMatmul: 2 }],
    ["qwen2", 9, { rmsNormQuantizedMatmul: 4, map: 2, attention: 1, quantizedMatmul: 2 }],
    // Queries, keys and values are one, and there is no gate.
    ["gpt2", 7, { layerNormQuantizedMatmul: 2, map: 2, attention: 1, quantizedMatmul: 2 }],
  ] as const)("%s: %d", async (architecture, count, kinds) => {
    const [two, three] = [await stepOf(architecture, 2), await stepOf(architecture, 3)]
    expect(three.length - two.length).toBe(count)
    for (const [kind, n] of Object.entries(kinds)) expect([kind, three.filter((k) => k === kind).length - two.filter((k) => k === kind).length]).toEqual([kind, n])
    // Nor is a norm computed by itself anywhere.
    expect(three.filter((k) => k === "rmsNorm" || k === "layerNorm")).toEqual([])
  })
})
