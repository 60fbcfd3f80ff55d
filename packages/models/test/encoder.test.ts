import { tensor, type Tensor } from "@thimble/core"
import { open } from "@thimble/kernels"
import { beforeAll, describe, expect, test } from "vitest"
import { createCache, type Model } from "../src/index.ts"
import { smallEncoders, smallModel } from "./random-model.ts"

beforeAll(async () => {
  await open("wasm", { threads: 1 })
})
const ids = (rows: readonly (readonly number[])[]): Tensor => tensor(rows.map((r) => [...r]), { dtype: "i32" })
const hidden = async (model: Model, rows: Tensor, mask?: Tensor): Promise<number[][][]> => (await model.hidden(rows, mask ? { mask } : {}).tolist()) as number[][][]
const close = (a: readonly number[], b: readonly number[]): void => expect(Math.max(...a.map((v, i) => Math.abs(v - b[i]!)))).toBeLessThan(2e-5)

describe.each(Object.keys(smallEncoders))("%s", (name) => {
  test("padding behind a text changes nothing of it", async () => {
    const model = smallModel(name), [whole] = await hidden(model, ids([[3, 9, 1, 30]]))
    const padded = await hidden(model, ids([[3, 9, 1, 30, 0, 0], [5, 6, 7, 8, 9, 10]]), ids([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]))
    whole!.forEach((row, i) => close(padded[0]![i]!, row))
    const unmasked = await hidden(model, ids([[3, 9, 1, 30, 0, 0]]))
    expect(Math.abs(unmasked[0]![0]![0]! - whole![0]![0]!)).toBeGreaterThan(1e-3)
  })
  test("tokens see what comes after them", async () => {
    const model = smallModel(name), [a] = await hidden(model, ids([[3, 9, 1, 30]])), [b] = await hidden(model, ids([[3, 9, 1, 31]]))
    expect(Math.abs(a![0]![0]! - b![0]![0]!)).toBeGreaterThan(1e-3)
  })
  test("the head can be left out; there is nothing to continue", async () => {
    const model = smallModel(name), body = model.withoutHead()
    expect(await hidden(body, ids([[3, 9]]))).toEqual(await hidden(model, ids([[3, 9]])))
    expect(() => body.forward(ids([[3, 9]]))).toThrow("forward: the model has no head; its hidden() gives the stream of the last block")
    expect(() => smallModel("llama").withoutHead()).toThrow("withoutHead: llama models are nothing without their head")
    expect(() => model.step(ids([[3]]), createCache(model), { position: 0 })).toThrow(`step: ${name} sees whole texts, there is nothing to continue`)
  })
})

test("segments of BERT: the first unless given", async () => {
  const model = smallModel("bert"), text = ids([[3, 9, 1, 30]])
  const [plain, first, second] = await Promise.all([undefined, ids([[0, 0, 0, 0]]), ids([[0, 0, 1, 1]])].map((segments) => model.hidden(text, segments ? { segments } : {}).data()))
  expect(first).toEqual(plain)
  expect(second).not.toEqual(plain)
})
