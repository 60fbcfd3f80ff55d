import { compile, realize, tensor, tensorsOf, type Tensor } from "@thimble/core"
import { open } from "@thimble/kernels"
import { beforeAll, describe, expect, test } from "vitest"
import { bucket, createCache, type Cache, type Model } from "../src/index.ts"
import { small, smallModel } from "./random-model.ts"

beforeAll(async () => {
  await open("wasm", { threads: 1 })
})

const ids = Int32Array.from({ length: 17 }, (_, i) => (i * 7 + 3) % 40)
const whole = async (model: Model, tokens: ArrayLike<number>): Promise<number[][]> => (await model.forward(tensor(Int32Array.from(tokens), { shape: [1, tokens.length] })).reshape([tokens.length, -1]).tolist()) as number[][]
const i32 = (n: number): Tensor => tensor([n], { dtype: "i32", shape: [] })
const close = (a: readonly number[], b: readonly number[]): void => expect(Math.max(...a.map((v, i) => Math.abs(v - b[i]!)))).toBeLessThan(2e-5)

/** Feeds tokens in pieces; gives the logits after each. Pieces are padded to their bucket if there is room. */
async function inPieces(model: Model, tokens: ArrayLike<number>, pieces: readonly number[], padded: boolean): Promise<number[][]> {
  let cache = createCache(model, { length: 32 }), position = 0
  const out: number[][] = []
  for (const count of pieces) {
    const length = padded ? bucket(count) : count, own = new Int32Array(length)
    own.set(Array.from(tokens).slice(position, position + count))
    const made = model.step(tensor(own, { shape: [1, length] }), cache, { position: position === 0 ? 0 : i32(position), count: i32(count) })
    out.push(...((await made.logits.reshape([length, -1]).tolist()) as number[][]).slice(0, count))
    cache = made.cache
    position += count
  }
  return out
}

describe.each(Object.keys(small))("%s: a cache changes nothing", (name) => {
  test.each([
    ["token by token", Array.from(ids, () => 1), false],
    ["a prompt, then token by token", [9, ...Array.from({ length: 8 }, () => 1)], false],
    ["pieces", [3, 4, 2, 7, 1], false],
    ["pieces padded to their buckets", [5, 3, 1, 7, 1], true],
  ])("%s", async (_, pieces, padded) => {
    const model = smallModel(name), want = await whole(model, ids), got = await inPieces(model, ids, pieces, padded)
    want.forEach((row, i) => close(got[i]!, row))
  })

  test("prompts of several lengths side by side, padded in front", async () => {
    const model = smallModel(name), prompts = [ids.slice(0, 4), ids.slice(3, 12), ids.slice(5, 11)], longest = 9, length = 16
    const own = new Int32Array(3 * length), begin = prompts.map((p) => longest - p.length)
    prompts.forEach((p, b) => own.set(p, b * length + begin[b]!))
    const cache = createCache(model, { batch: 3, length: 32, begin })
    const first = model.step(tensor(own, { shape: [3, length] }), cache, { position: 0, count: i32(longest), at: i32(longest - 1) })
    const next = [11, 12, 13]
    const second = model.step(tensor(Int32Array.from(next), { shape: [3, 1] }), first.cache, { position: i32(longest) })
    const third = model.step(tensor(Int32Array.from([5, 6, 7, 8, 9, 10]), { shape: [3, 2] }), second.cache, { position: i32(longest + 1), at: tensor(Int32Array.from([1, 0, 1])) })
    const rows = async (t: Tensor): Promise<number[][]> => (await t.reshape([3, -1]).tolist()) as number[][]
    const [a, b, c] = [await rows(first.logits), await rows(second.logits), await rows(third.logits)]
    for (const [i, p] of prompts.entries()) {
      const all = await whole(model, [...p, next[i]!, 5 + 2 * i, 6 + 2 * i])
      close(a[i]!, all[p.length - 1]!)
      close(b[i]!, all[p.length]!)
      close(c[i]!, all[p.length + (i === 1 ? 1 : 2)]!)
    }
  })
})

test("one program serves every position, and another every length of a bucket", async () => {
  for (const name of ["llama", "mistral", "gemma2"]) {
    const model = smallModel(name)
    const start = compile((cache: Cache, ids: Tensor, count: Tensor) => model.step(ids, cache, { position: 0, count, at: count.sub(1) }))
    const step = compile((cache: Cache, id: Tensor, position: Tensor) => model.step(id.reshape([1, 1]), cache, { position }), { donate: [0] })
    for (const length of [5, 8, 7]) {
      const empty = createCache(model, { length: 24 })
      await realize(...tensorsOf(empty))
      const own = new Int32Array(8)
      own.set(ids.subarray(0, length))
      let made = await start(empty, tensor(own, { shape: [1, 8] }), BigInt(length))
      const want = await whole(model, ids)
      close(Array.from(await made.logits.data()), want[length - 1]!)
      for (let p = length; p < ids.length; p++) {
        made = await step(made.cache, BigInt(ids[p]!), BigInt(p))
        close(Array.from(await made.logits.data()), want[p]!)
      }
    }
    expect([start.programs, step.programs]).toEqual([1, 1])
  }
})

test("layers with a window keep no more than that", () => {
  const cache = createCache(smallModel("gemma2"), { length: 32, batch: 2 })
  expect(cache.layers.map((l) => l.keys.shape)).toEqual([[2, 2, 5, 4], [2, 2, 32, 4]])
  expect(tensorsOf(cache).length).toBe(4)
})

test("what does not fit is refused", () => {
  const model = smallModel("llama"), cache = createCache(model, { length: 8 })
  expect(() => model.step(tensor(new Int32Array(9), { shape: [1, 9] }), cache, { position: 0 })).toThrow("step: 9 tokens do not fit a cache of 8")
  expect(() => createCache(model, { length: 0 })).toThrow("createCache: length must be a whole number from 1, got 0")
  expect(() => createCache(model, { batch: 2, begin: [1] })).toThrow("createCache: begin has 1 elements for 2 sequences")
  expect(() => model.step(tensor(new Int32Array(4), { shape: [1, 4] }), { layers: cache.layers.slice(1) }, { position: 0 })).toThrow("step: the cache has 1 layers, the model 2")
})
