import { memory, realize, tensor } from "@thimble/core"
import type { Model } from "@thimble/models"
import { open } from "../../kernels/src/index.ts"
import { beforeAll, expect, test } from "vitest"
import { smallModel } from "../../models/test/random-model.ts"
import { awq, gptq, hqq, int, plan, quantize, rtn, sequencesOf, smooth } from "../src/index.ts"

beforeAll(async () => void (await open("wasm", { threads: 1 })))

// What nobody holds may be collected while others are counted, so all is held: a file of its own.
const alive: unknown[] = []
const texts = await sequencesOf(Array.from({ length: 5 }, (_, s) => Array.from({ length: 12 }, (_, i) => (i * 7 + s * 11) % 40)))
async function logits(model: Model): Promise<Float32Array> {
  const ids = tensor(Int32Array.from({ length: 12 }, (_, i) => (i * 7 + 99) % 40), { shape: [1, 12], dtype: "i32" }), made = model.forward(ids)
  alive.push(ids, made)
  return (await made.data()) as Float32Array
}
const farthest = (a: Float32Array, b: Float32Array): number => a.reduce((m, v, i) => Math.max(m, Math.abs(v - b[i]!)), 0)

test("leaves the model it starts from alone, and no tensors beside the result's", async () => {
  for (const method of [rtn(int(8)), gptq({ format: int(8, { group: 8 }), order: "activity" }), hqq({ bits: 8, group: 8 }), awq({ format: int(8, { group: 8 }), points: 4 }), smooth({ method: rtn(int(8)) })]) {
    const model = smallModel("llama")
    await realize(...Object.values(model.parts()))
    alive.push(model)
    const before = await logits(model), held = memory().devices.wasm!.tensors
    const { model: small } = await plan(model, quantize({ default: method })).run(texts).result, after = memory().devices.wasm!.tensors
    alive.push(small)
    expect(farthest(await logits(model), before), method.name).toBe(0)
    const own = new Set(Object.values(small.parts())), shared = Object.values(model.parts()).filter((t) => own.has(t)).length
    expect(after - held, method.name).toBe(own.size - shared)
    expect(farthest(await logits(small), before) / farthest(before, before.map(() => 0)), method.name).toBeLessThan(0.1)
  }
})
