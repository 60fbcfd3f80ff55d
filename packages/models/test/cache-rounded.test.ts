import fc from "fast-check"
import { bf16Bits, bf16Value, compile, realize, roundHalfEven, tensor, tensorsOf, type Tensor } from "@thimble/core"
import { open } from "@thimble/kernels"
import { beforeAll, describe, expect, test } from "vitest"
import { bucket, cacheBytes, createCache, generate, readConfig, type Cache, type CacheType, type Model } from "../src/index.ts"
import { growAndLook } from "../src/cache.ts"
import { roundKeys, roundValues, unroundKeys, unroundValues } from "../src/cache-blocks.ts"
import { roundTokens, unroundTokens } from "../src/cache-tokens.ts"
import { small, smallModel } from "./random-model.ts"

beforeAll(async () => {
  await open("wasm", { threads: 1 })
})

const i32 = (n: number): Tensor => tensor([n], { dtype: "i32", shape: [] })
const bf16 = (x: number): number => bf16Value(bf16Bits(x))
const ids = Int32Array.from({ length: 50 }, (_, i) => (i * 7 + 3) % 40)
/** Keys or values [1, heads, tokens, size] from a seed: some features far out, as keys have. */
function made(seed: number, shape: readonly number[]): Float32Array {
  const size = shape.at(-1)!
  return Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i * 12.9898 + seed) * ((i + seed) % size === 1 ? 8 : 1) + (i % size === 2 ? 5 : 0))
}

describe("K4: what a cache gives back is within half a step of what went in", () => {
  const sizes = fc.record({ seed: fc.nat(1e6), heads: fc.constantFrom(1, 3), size: fc.constantFrom(4, 6, 32), groups: fc.constantFrom(1, 2), blocks: fc.constantFrom(1, 2) })
  test("int8: a scale for each token, head and group", () => fc.assert(fc.asyncProperty(sizes, async ({ seed, heads, size, groups, blocks }) => {
    const shape = [1, heads, 5 * blocks, size], x = made(seed, shape), r = roundTokens(tensor(x, { shape }), groups)
    const back = await unroundTokens(r).data(), scales = await r.scales.data()
    // bf16 scales may be 2⁻⁹ too small: the largest still rounds to 127.
    back.forEach((v, i) => expect(Math.abs(v - x[i]!)).toBeLessThanOrEqual(scales[Math.floor(i / (size / groups))]! * 0.5 * (1 + 1e-4)))
  }), { numRuns: 20 }))
  test("int4: keys by feature and block, values by token and group", () => fc.assert(fc.asyncProperty(sizes, async ({ seed, heads, size, groups, blocks }) => {
    const tokens = 32 * blocks, shape = [1, heads, tokens, size], x = made(seed, shape), t = tensor(x, { shape })
    const valid = tokens - (seed % 32), k = roundKeys(t, tensor(Int32Array.from({ length: tokens }, (_, i) => Number(i < valid)), { dtype: "bool" })), v = roundValues(t, groups)
    const [kBack, kScale, kMin] = [await unroundKeys(k).data(), await k.keyScales.data(), await k.keyMins.data()]
    const [vBack, vScale, vMin] = [await unroundValues(v).data(), await v.valueScales.data(), await v.valueMins.data()]
    // Half a step; minima and ranges are cut off where bf16 rounds them inwards.
    const within = (got: number, want: number, s: number, m: number): void => expect(Math.abs(got - want)).toBeLessThanOrEqual(s / 2 + Math.abs(m) * 2 ** -8 + 15 * s * 2 ** -8)
    x.forEach((want, i) => {
      const f = i % size, token = Math.floor(i / size) % tokens, head = Math.floor(i / size / tokens)
      const at = (head * blocks + (token >> 5)) * size + f
      if (token < valid) within(kBack[i]!, want, kScale[at]!, kMin[at]!)
      const own = Math.floor(i / (size / groups))
      within(vBack[i]!, want, vScale[own]!, vMin[own]!)
    })
  }), { numRuns: 20 }))
})

/** Feeds tokens in pieces; the logits after each token. */
async function inPieces(model: Model, dtype: CacheType, pieces: readonly number[], padded = false): Promise<number[][]> {
  let cache = createCache(model, { length: 60, dtype }), position = 0
  const out: number[][] = []
  for (const count of pieces) {
    const length = padded ? Math.min(bucket(count), 60 - position) : count, own = new Int32Array(length)
    own.set(ids.subarray(position, position + count))
    const step = model.step(tensor(own, { shape: [1, length] }), cache, { position: position === 0 && count > 1 ? 0 : i32(position), count: i32(count) })
    await realize(step.logits, ...tensorsOf(step.cache))
    out.push(...((await step.logits.reshape([length, -1]).tolist()) as number[][]).slice(0, count))
    cache = step.cache
    position += count
  }
  return out
}
const whole = async (model: Model, cache?: CacheType): Promise<number[][]> =>
  (await model.forward(tensor(ids, { shape: [1, ids.length] }), { ...(cache && { cache }) }).reshape([ids.length, -1]).tolist()) as number[][]
const apart = (a: readonly number[][], b: readonly number[][]): number => Math.max(...a.map((row, i) => Math.max(...row.map((v, j) => Math.abs(v - b[i]![j]!)))))
/** Root of the mean square of differences, as a share of that of what is wanted. */
const share = (got: readonly number[][], want: readonly number[][]): number => {
  const square = (x: readonly number[]): number => x.reduce((s, v) => s + v * v, 0)
  const all = want.flat()
  return Math.sqrt(square(got.flat().map((v, i) => v - all[i]!)) / square(all))
}
const single = Array.from(ids, () => 1)

describe.each(Object.keys(small))("%s", (name) => {
  test("K1: token by token, an int8 cache is the forward pass through that rounding", async () => {
    const model = smallModel(name)
    expect(apart(await inPieces(model, "int8", single), await whole(model, "int8"))).toBeLessThan(3e-4)
  })
  // Logits of random weights feel rounding more than those of trained ones do.
  test.each([["f16", 0.002], ["int8", 0.05], ["int4", 0.2]] as const)("K1: %s, whatever the pieces, is the forward pass within a share of %d", async (dtype, most) => {
    const model = smallModel(name), want = await whole(model)
    for (const [pieces, padded] of [[single, false], [[9, ...Array.from({ length: 41 }, () => 1)], false], [[3, 34, 2, 11], false], [[20, 13, 1, 9, 7], true], [[50], true]] as const) {
      expect(share(await inPieces(model, dtype, pieces, padded), want)).toBeLessThan(most)
    }
  })
})

test("int4 keeps the tokens of its last block as they are: the first 32 cost nothing", async () => {
  const model = smallModel("llama"), want = await whole(model), got = await inPieces(model, "int4", single)
  expect(apart(got.slice(0, 32), want.slice(0, 32))).toBeLessThan(2e-5)
  expect(apart(got.slice(32), want.slice(32))).toBeGreaterThan(1e-4)
})

test("int4, step by step: what queries look at is stored up to the block of the first new token, and exact from there on", async () => {
  const config = readConfig({ ...small.llama!, hidden_size: 24, head_dim: 6, max_position_embeddings: 128 }), model = { config }
  const [heads, size, tokens] = [2, 6, 100], shape = [1, heads, tokens, size]
  const q = made(1, [1, 4, tokens, size]), k = made(2, shape), v = made(3, shape)
  const part = (x: Float32Array, h: number, from: number, t: number): Tensor => tensor(x, { shape: [1, h, tokens, size] }).slice([], [], [from, from + t])
  const at = (x: Float32Array, h: number, token: number, f: number): number => x[(h * tokens + token) * size + f]!
  const onGrid = (x: number, lo: number, hi: number): number => {
    const m = bf16(Math.fround(lo)), s = bf16(Math.fround(Math.fround(Math.max(0, Math.fround(hi - m))) * Math.fround(1 / 15)))
    return s === 0 ? m : Math.max(0, Math.min(15, roundHalfEven(Math.fround(Math.fround(x - m) / s)))) * s + m
  }
  /** Attention of one query on tokens up to itself, those before `exact` rounded, in f64. */
  function attended(head: number, query: number, exact: number): number[] {
    const own = head >> 1
    const keyAt = (j: number, f: number): number => {
      if (j >= exact) return at(k, own, j, f)
      const block = Array.from({ length: 32 }, (_, i) => at(k, own, (j & ~31) + i, f))
      return onGrid(at(k, own, j, f), Math.min(...block), Math.max(...block))
    }
    const valueAt = (j: number, f: number): number => {
      if (j >= exact) return at(v, own, j, f)
      const all = Array.from({ length: size }, (_, i) => at(v, own, j, i))
      return onGrid(at(v, own, j, f), Math.min(...all), Math.max(...all))
    }
    const features = Array.from({ length: size }, (_, f) => f)
    const scores = Array.from({ length: query + 1 }, (_, j) => 0.1 * features.reduce((s, f) => s + at(q, head, query, f) * keyAt(j, f), 0))
    const most = Math.max(...scores), p = scores.map((s) => Math.exp(s - most)), sum = p.reduce((a, b) => a + b)
    return features.map((f) => p.reduce((s, w, j) => s + w * valueAt(j, f), 0) / sum)
  }
  let layer = createCache(model, { length: tokens, dtype: "int4" }).layers[0]!, position = 0
  for (const count of [40, 1, 1, 22, 1, 1, 7, 1, 25, 1]) {
    const grown = growAndLook(layer, { position: position === 0 ? 0 : i32(position), count }, part(q, 4, position, count), part(k, heads, position, count), part(v, heads, position, count), 0, { scale: 0.1 })
    const seen = await grown.seen.data()
    for (let head = 0; head < 4; head++)
      for (let i = 0; i < count; i++)
        attended(head, position + i, position === 0 ? 0 : position & ~31).forEach((want, f) => expect(Math.abs(seen[(head * count + i) * size + f]! - want), `token ${position + i}`).toBeLessThan(2e-4))
    await realize(...tensorsOf(grown.cache))
    layer = grown.cache
    position += count
  }
})

test("prompts of several lengths side by side", async () => {
  for (const [dtype, most] of [["int8", 0.02], ["int4", 0.0001]] as const) {
    const model = smallModel("llama"), prompts = [ids.slice(0, 4), ids.slice(3, 12), ids.slice(5, 11)], longest = 9
    const own = new Int32Array(3 * longest), begin = prompts.map((p) => longest - p.length)
    prompts.forEach((p, b) => own.set(p, b * longest + begin[b]!))
    const first = model.step(tensor(own, { shape: [3, longest] }), createCache(model, { batch: 3, length: 40, begin, dtype }), { position: 0 })
    const second = model.step(tensor(Int32Array.of(11, 12, 13), { shape: [3, 1] }), first.cache, { position: i32(longest) })
    const rows = (await second.logits.reshape([3, -1]).tolist()) as number[][]
    for (const [i, p] of prompts.entries()) {
      const all = (await model.forward(tensor(Int32Array.from([...p, 11 + i]), { shape: [1, p.length + 1] })).reshape([p.length + 1, -1]).tolist()) as number[][]
      expect(share([rows[i]!], [all.at(-1)!])).toBeLessThan(most)
    }
  }
})

test.each(["int8", "int4"] as const)("a step writes into the cache it is given, and nothing else grows: %s", async (dtype) => {
  const model = smallModel("gemma2")
  const step = compile((cache: Cache, id: Tensor, position: Tensor) => model.step(id.reshape([1, 1]), cache, { position }), { donate: [0] })
  let cache = createCache(model, { length: 48, dtype })
  await realize(...tensorsOf(cache))
  const buffers = (c: Cache): unknown[] => tensorsOf(c).map((t) => t.storage!.buffer), first = buffers(cache)
  for (let p = 0; p < 40; p++) {
    const made = await step(cache, BigInt(ids[p]!), BigInt(p))
    made.logits.dispose()
    cache = made.cache
    expect(buffers(cache)).toEqual(first)
  }
  expect(step.programs).toBe(1)
})

test("bytes are those of codes, scales and the latest tokens", () => {
  const model = smallModel("llama", { hidden_size: 128, head_dim: 64, max_position_embeddings: 1024 }), bytes = (dtype: CacheType): number => cacheBytes(createCache(model, { dtype }))
  const elements = 2 * 2 * 2 * 1024 * 64
  expect(bytes("f32")).toBe(4 * elements)
  expect(bytes("f16")).toBe(2 * elements)
  expect(bytes("int8")).toBe(elements + (elements / 64) * 2)
  // 4 bits, a bf16 scale and minimum for 32 tokens of a key's feature and 64 features of a token's value, and 32 tokens in f32.
  expect(bytes("int4")).toBe(elements / 2 + (elements / 2 / 32 + elements / 2 / 64) * 4 + 2 * 2 * 2 * 32 * 64 * 4)
})

test("generating takes a type, and the text is that of its steps", async () => {
  const model = smallModel("llama"), text = (cache: CacheType) => generate(model, [1, 2, 3, 4, 5], { maxTokens: 40, cache }).done()
  const exact = await text("f32")
  expect((await text("int8")).ids.slice(0, 5)).toEqual(exact.ids.slice(0, 5))
  // All of it is in the block that is being filled.
  expect((await text("int4")).ids.slice(0, 20)).toEqual(exact.ids.slice(0, 20))
})

test("groups that do not fit are refused", () => {
  const model = smallModel("llama")
  expect(() => createCache(model, { dtype: "int8", group: 3 })).toThrow("createCache: groups of 3 features do not divide heads of 4")
  expect(() => createCache(model, { group: 4 })).toThrow("createCache: nothing is rounded in groups in f32")
})
