import { memory, take, tensor } from "@thimble/core"
import { open } from "@thimble/kernels"
import fc from "fast-check"
import { beforeAll, describe, expect, test } from "vitest"
import { generate, generateBatch, type Generator, type GenerateOptions, type Model } from "../src/index.ts"
import { pieces } from "../src/generate/pieces.ts"
import { generatePrograms } from "../src/generate/session.ts"
import { begin, byteTokenizer, end } from "./byte-tokenizer.ts"
import { smallModel } from "./random-model.ts"

beforeAll(async () => { await open("wasm", { threads: 1 }) })

const ids = (n: number, seed = 0): number[] => Array.from({ length: n }, (_, i) => (i * 7 + seed * 11 + 3) % 40)

/** The most probable tokens, each from a pass over the whole sequence. */
async function greedy(model: Model, prompt: readonly number[], count: number): Promise<number[]> {
  const all = [...prompt]
  for (let i = 0; i < count; i++) {
    using at = tensor([all], { dtype: "i32" })
    using logits = model.forward(at)
    const row = (await logits.data()).slice(-model.config.vocabulary)
    all.push(row.indexOf(Math.max(...row)))
  }
  return all.slice(prompt.length)
}

/** A model that writes a text, byte by byte, whatever the prompt: after `at` tokens of the prompt comes the first. */
async function scripted(tokens: readonly number[], at: number, options: { readonly context?: number; readonly eos?: readonly number[]; readonly template?: string } = {}): Promise<Generator> {
  const { template, eos, context = 64 } = options, cells = smallModel("llama", { max_position_embeddings: context })
  const script = tensor(Array.from({ length: context }, (_, p) => Array.from({ length: end + 3 }, (_, id) => (id === (tokens[p - at + 1] ?? end + 2) ? 50 : 0))))
  const config = { ...cells.config, vocabulary: end + 3, ...(eos && { eos }) }
  return {
    config, tokenizer: await byteTokenizer(template),
    // Caches grow as they would; logits are the row of the last token's position.
    step(given, cache, { position, count }) {
      const last = (position === 0 ? tensor(0, { dtype: "i32" }) : position).add(count ?? given.shape[1]!).sub(1)
      return { logits: take(script, last.reshape([1, 1])), cache: { ...cache, layers: cache.layers.map(({ keys, values }) => ({ keys: keys.add(0), values: values.add(0) })) } }
    },
  }
}
const bytes = (text: string): number[] => [...new TextEncoder().encode(text)]
const read = async (pieces: AsyncIterable<string>): Promise<string[]> => {
  const out: string[] = []
  for await (const p of pieces) out.push(p)
  return out
}

describe("tokens", () => {
  test.each(["llama", "mistral", "gemma2", "gpt2"])("of %s are those of passes over the whole sequence, across pieces and rings", async (name) => {
    const model = smallModel(name)
    for (const n of [1, 5, 8, 13, 41]) {
      const { ids: got, finish, promptLength } = await generate(model, ids(n), { maxTokens: 12 }).done()
      expect([n, got]).toEqual([n, await greedy(model, ids(n), 12)])
      expect([finish, promptLength]).toEqual(["length", n])
    }
  }, 60_000)
  test("of prompts side by side, of any lengths, are those of each alone", async () => {
    const model = smallModel("llama"), prompts = [ids(3, 1), ids(17, 2), ids(1, 3), ids(9, 4)]
    const together = await generateBatch(model, prompts, { maxTokens: 10 }).done()
    for (const [i, prompt] of prompts.entries()) expect(together[i]).toEqual(await generate(model, prompt, { maxTokens: 10 }).done())
  })
  test("are drawn: equal seeds, equal tokens, also of the first of many; another seed, other tokens", async () => {
    const model = smallModel("llama"), options = { maxTokens: 20, temperature: 3, seed: 5 }
    const first = await generate(model, ids(4), options).done()
    expect(await generate(model, ids(4), options).done()).toEqual(first)
    const [a, b] = await generateBatch(model, [ids(4), ids(4)], options).done()
    expect(a).toEqual(first)
    expect(b!.ids).not.toEqual(first.ids)
    expect((await generate(model, ids(4), { ...options, seed: 6 }).done()).ids).not.toEqual(first.ids)
  })
  test("never are what a processor forbids, and it sees all tokens so far", async () => {
    const model = smallModel("llama"), usual = await generate(model, ids(4), { maxTokens: 6 }).done(), seen: number[][] = []
    const { ids: got } = await generate(model, ids(4), { maxTokens: 6, processors: [(logits, { ids: all, promptLength }) => {
      expect(promptLength).toBe(4)
      seen.push([...all])
      logits[usual.ids[0]!] = -Infinity
    }] }).done()
    expect(got).not.toContain(usual.ids[0])
    expect(seen).toEqual(got.map((_, i) => [...ids(4), ...got.slice(0, i)]))
  })
  test("come with their probabilities, one by one, and end at a token that ends texts", async () => {
    const model = smallModel("llama"), usual = await generate(model, ids(4), { maxTokens: 8 }).done(), last = usual.ids[4]!
    const generation = generate(model, ids(4), { maxTokens: 8, stopTokens: [last], temperature: 1, topK: 1 }), got: number[] = []
    for await (const { id, probability } of generation.tokens()) {
      expect(probability).toBe(1)
      got.push(id)
      expect(generation.sofar.ids).toEqual(got)
    }
    expect(got).toEqual(usual.ids.slice(0, usual.ids.indexOf(last) + 1))
    expect(generation.sofar.finish).toBe("end")
  })
  test("one text may end before another", async () => {
    const model = smallModel("llama"), prompts = [ids(3, 1), ids(5, 2), ids(2, 3)], free = await generateBatch(model, prompts, { maxTokens: 9 }).done()
    const stop = free[1]!.ids[2]!
    const got = await generateBatch(model, prompts, { maxTokens: 9, stopTokens: [stop] }).done()
    got.forEach((g, i) => {
      const at = free[i]!.ids.indexOf(stop)
      expect([g.ids, g.finish]).toEqual(at < 0 ? [free[i]!.ids, "length"] : [free[i]!.ids.slice(0, at + 1), "end"])
    })
  })
})

describe("text", () => {
  const story = "Ünïcode: 日本語 🦊! And then"
  test("comes in whole characters, and joined it is all of it", async () => {
    const model = await scripted(bytes(story), 3), given = await read(generate(model, "ab", { maxTokens: bytes(story).length }))
    expect(given).toEqual([...story])
  })
  test("that is cut off within a character ends with a sign for it", async () => {
    const model = await scripted(bytes("a🦊"), 3)
    expect(await generate(model, "ab", { maxTokens: 3 }).done()).toMatchObject({ text: "a\ufffd", finish: "length" })
  })
  test("ends before a stop string, which may be spread over tokens, and holds back what may begin one", async () => {
    const model = await scripted(bytes("one. two.\n\nthree"), 3)
    const generation = generate(model, "ab", { stop: ["\n\n", "never"] })
    expect((await read(generation)).join("")).toBe("one. two.")
    expect(generation.sofar).toMatchObject({ text: "one. two.", finish: "stop", ids: bytes("one. two.\n\n") })
    expect(await read(generate(model, "ab", { stop: ". t", maxTokens: 3 }))).toEqual(["o", "n", "e"])
    // The "." could begin the stop string until the text ends.
    expect(await read(generate(model, "ab", { stop: ". t", maxTokens: 4 }))).toEqual(["o", "n", "e", "."])
  })
  test("ends at the model's own end, which leaves no trace; a stop string wins over a limit", async () => {
    const model = await scripted([...bytes("so"), end, ...bytes("more")], 3, { eos: [end] })
    expect(await generate(model, "ab").done()).toEqual({ text: "so", ids: [...bytes("so"), end], finish: "end", promptLength: 3 })
    expect(await generate(model, "ab", { stop: "o", maxTokens: 2 }).done()).toMatchObject({ text: "s", finish: "stop" })
    expect(await generate(model, "ab", { stopTokens: [], maxTokens: 5 }).done()).toMatchObject({ text: "somo".slice(0, 2) + "mo", finish: "length" })
  })
  test("goes on from the prompt, whose tokens it is decoded after", async () => {
    const fox = bytes("🦊"), model = await scripted([...fox.slice(2), ...bytes("!")], 3)
    expect(await read(generate(model, [begin, ...fox.slice(0, 2)], { maxTokens: 3 }))).toEqual(["🦊", "!"])
  })
  test("answers a conversation by the model's template", async () => {
    const template = "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
    const prompt = [begin, ...bytes("user:hi"), end, ...bytes("a:")], model = await scripted(bytes("hello"), prompt.length, { template })
    expect(await generate(model, [{ role: "user", content: "hi" }], { maxTokens: 5 }).done()).toMatchObject({ text: "hello", promptLength: prompt.length })
  })
})

describe("limits", () => {
  test("a text ends with the model's context, of which all is used", async () => {
    const model = smallModel("llama", { max_position_embeddings: 24 })
    const { ids: got, finish } = await generate(model, ids(10)).done()
    // The last token is chosen from logits at the last position, and has none itself.
    expect([got.length, finish]).toEqual([14, "context"])
    expect(got).toEqual(await greedy(model, ids(10), 14))
    expect(await generate(model, ids(23)).done()).toMatchObject({ finish: "context", promptLength: 23 })
  })
  test.each<[string, number[] | string, GenerateOptions]>([
    ["the prompt has 24 tokens, and the model's context 24; shorten it", ids(24), {}],
    ["the prompt is empty", [], {}],
    ["token 40 of the prompt is outside the vocabulary of 40", [40], {}],
    ["the model has no tokenizer", "abc", {}],
    ["maxTokens must be a whole number from 1, got 0", ids(2), { maxTokens: 0 }],
    ["topP must be above 0", ids(2), { topP: 2 }],
    ["stop strings must not be empty", ids(2), { stop: "" }],
  ])("%s", async (problem, prompt, options) => {
    const model = smallModel("llama", { max_position_embeddings: 24 })
    await expect((async () => await generate(model, prompt, options).done())()).rejects.toThrow(`generate: ${problem}`)
  })
  test("another model's tokenizer is refused", async () => {
    const model = smallModel("llama").with({}, { tokenizer: await byteTokenizer() })
    await expect(generate(model, "a").done()).rejects.toThrow("generate: the tokenizer has 258 tokens, the model knows 40; is it another model's tokenizer?")
  })
})

describe("memory and programs", () => {
  test("neither grows with tokens; prompts of all lengths are served by few programs", async () => {
    const model = smallModel("llama", { max_position_embeddings: 256 })
    await generate(model, ids(100), { maxTokens: 2 }).done()
    const { bytes: before } = memory()
    let programs = 0, most = 0
    const run = async (n: number, maxTokens: number): Promise<void> => {
      for await (const _ of generate(model, ids(n), { maxTokens }).tokens()) most = Math.max(most, memory().bytes)
      expect(memory().bytes).toBe(before)
    }
    await run(9, 8)
    programs = generatePrograms(model)
    const peak = most
    // A cache of the same size: 64 slots.
    await run(9, 50)
    expect([most, generatePrograms(model)]).toEqual([peak, programs])
    for (let n = 1; n <= 200; n++) await run(n, 2)
    // Prompts begin with 1, 8, … 128 tokens and go on with as many or one, in caches of 64, 128 and 256.
    expect(generatePrograms(model)).toBeLessThanOrEqual(25)
  }, 60_000)
  test("who stops reading gives everything back, and so does an abort", async () => {
    const model = smallModel("llama")
    await generate(model, ids(9), { maxTokens: 2 }).done()
    const { bytes: before } = memory(), control = new AbortController()
    for await (const { id } of generate(model, ids(9)).tokens()) if (id >= 0) break
    expect(memory().bytes).toBe(before)
    let seen = 0
    const reading = (async () => {
      for await (const _ of generate(model, ids(9), { signal: control.signal }).tokens()) if (++seen === 3) control.abort()
    })()
    await expect(reading).rejects.toMatchObject({ name: "AbortError" })
    expect([seen, memory().bytes]).toEqual([3, before])
    await expect(generate(model, ids(9), { signal: control.signal }).done()).rejects.toMatchObject({ name: "AbortError" })
    expect(memory().bytes).toBe(before)
  })
  test("nothing is computed before it is read", () => {
    const before = memory()
    generate(smallModel("llama"), ids(3))
    expect(memory()).toEqual(before)
  })
  test("pieces cover all tokens in turn, of few lengths, with little padding, within the room", () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 3000 }), fc.nat({ max: 500 }), fc.nat({ max: 500 }), (total, position, spare) => {
      const room = position + total + spare
      let at = 0
      for (const { start, count, padded } of pieces(total, position, room)) {
        expect(start).toBe(at)
        expect(padded === 1 || (padded >= 8 && padded <= 512 && Number.isInteger(Math.log2(padded)))).toBe(true)
        expect(count).toBeLessThanOrEqual(padded)
        expect(position + start + padded).toBeLessThanOrEqual(room)
        if (padded > 32) expect(count).toBeGreaterThanOrEqual(0.75 * padded)
        at += count
      }
      expect(at).toBe(total)
    }), { numRuns: 500 })
  })
})
