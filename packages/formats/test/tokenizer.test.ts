import { ThimbleError } from "@thimble/core"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { ggufTokenizer, openSentencePiece, openTokenizer, type GgufValue, type Tokenizer } from "../src/index.ts"
import { Cursor } from "../src/cursor.ts"
import { eachField } from "../src/tokenizer/protobuf.ts"
import { asGguf, byteTokenizerGguf, byteTokenizerJson, byteTokenNames, modelBytes, recorded, utf8, vocabularies } from "./tokenizer-files.ts"

const id = (name: string): number => byteTokenNames.indexOf(name)
const streamed = (tokenizer: Tokenizer, ids: readonly number[]): string[] => {
  const stream = tokenizer.stream()
  return [...ids.map((i) => stream.push(i)), stream.end()]
}
const text = fc.oneof(fc.string({ unit: "binary", maxLength: 40 }), fc.string({ maxLength: 40 }), fc.string({ unit: fc.constantFrom("a", " ", "▁", "é", "日", "🙂", "\n", "the ", "<s>", "1", "’", "\0", "\ufeff"), maxLength: 20 }))

/** Pairs by score, highest first and leftmost of equals: the definition, without a queue. */
function joinedByScore(word: string, scores: ReadonlyMap<string, number>): string[] {
  const parts = Array.from(word)
  for (;;) {
    let best = -1
    for (let i = 0; i + 1 < parts.length; i++) {
      const score = scores.get(parts[i]! + parts[i + 1]!)
      if (score !== undefined && (best < 0 || score > scores.get(parts[best]! + parts[best + 1]!)!)) best = i
    }
    if (best < 0) return parts
    parts.splice(best, 2, parts[best]! + parts[best + 1]!)
  }
}

const bytes = (): Promise<Tokenizer> => openTokenizer(utf8(JSON.stringify(byteTokenizerJson())))
const kinds: Readonly<Record<string, () => Promise<Tokenizer>>> = {
  "BPE on bytes": bytes,
  "BPE on bytes, from GGUF (llama-bpe)": () => ggufTokenizer(byteTokenizerGguf("llama-bpe")),
  "BPE by scores": () => openSentencePiece(modelBytes("spm_bpe_bytefallback")),
}
describe.each(Object.entries(kinds))("%s", (_, open) => {
  test("what was encoded is decoded", async () => {
    const tokenizer = await open()
    fc.assert(fc.property(text, (s) => {
      // A vocabulary that spells spaces ▁ cannot tell them apart.
      expect(tokenizer.decode(tokenizer.encode(s))).toBe(tokenizer.idOf("▁") === undefined ? s : s.replaceAll("▁", " "))
    }), { numRuns: 200 })
  })
  test("ids are numbers of tokens, and text cannot spell special ones", async () => {
    const tokenizer = await open(), special = new Set(tokenizer.special.values())
    fc.assert(fc.property(text, fc.constantFrom(...tokenizer.special.keys()), (s, name) => {
      for (const i of tokenizer.encode(s + name + s)) expect(i >= 0 && i < tokenizer.size && !special.has(i)).toBe(true)
      expect(tokenizer.encode(s + name + s, { special: true })).toContain(tokenizer.special.get(name))
    }), { numRuns: 50 })
  })
})
const all = { ...kinds, unigram: () => openSentencePiece(modelBytes("spm_unigram_nmt_nfkc")), "unigram with bytes": () => openSentencePiece(modelBytes("spm_unigram_bytefallback")) }
describe.each(Object.entries(all))("%s", (_, open) => {
  test("any ids: token by token is the same as at once, and no part of a character comes early", async () => {
    const tokenizer = await open()
    fc.assert(fc.property(fc.array(fc.oneof(fc.nat(tokenizer.size - 1), fc.nat(Math.min(258, tokenizer.size - 1))), { maxLength: 80, size: "max" }), (ids) => {
      const parts = streamed(tokenizer, ids)
      expect(parts.join("")).toBe(tokenizer.decode(ids))
      for (const part of parts) expect(part.isWellFormed()).toBe(true)
    }), { numRuns: 200 })
  })
  // A ▁ in a text becomes a space without being one to those who drop spaces: the next time it is.
  test("encoding what was decoded changes nothing more", async () => {
    const tokenizer = await open()
    fc.assert(fc.property(text.map((s) => s.replaceAll("▁", "_")), (s) => {
      const once = tokenizer.decode(tokenizer.encode(s))
      fc.pre(!once.includes("\u2047"))
      expect(tokenizer.decode(tokenizer.encode(once))).toBe(once)
    }), { numRuns: 100 })
  })
  test("lone surrogates are U+FFFD; nothing is nothing; ids that are not there are refused", async () => {
    const tokenizer = await open()
    expect(tokenizer.encode("a\ud800b")).toEqual(tokenizer.encode("a\ufffdb"))
    expect([tokenizer.encode(""), tokenizer.decode([])]).toEqual([[], ""])
    for (const wrong of [-1, 0.5, tokenizer.size]) expect(() => tokenizer.decode([wrong])).toThrow(`decode: no token ${wrong}; ids go from 0 to ${tokenizer.size - 1}`)
  })
})

test("BPE by scores is the definition, ties included", async () => {
  const vocab = [["<unk>", 0, "UNKNOWN"], ["<s>", 0, "CONTROL"], ["</s>", 0, "CONTROL"], ["▁", -9, "NORMAL"], ...["a", "b", "aa", "ab", "ba", "aab", "aba", "▁a", "bb"].map((name, i) => [name, -(i >> 1), "NORMAL"])] as [string, number, string][]
  const tokenizer = await ggufTokenizer(asGguf({ vocab, unk_id: 0, bos_id: 1, eos_id: 2 }, "llama"))
  const scores = new Map(vocab.filter(([, , type]) => type === "NORMAL").map(([name, score]) => [name, score]))
  fc.assert(fc.property(fc.string({ unit: fc.constantFrom("a", "b", " "), minLength: 1, maxLength: 14 }), (s) => {
    expect(tokenizer.encode(s).map(tokenizer.tokenOf)).toEqual(joinedByScore(`▁${s.replaceAll(" ", "▁")}`, scores))
  }), { numRuns: 500 })
})

test.each(["llama", "t5"])("%s: pieces of a user's own stand for themselves, unused and control ones for nothing, unknown text for one token a run", async (kind) => {
  const vocab = [["<unk>", 0, "UNKNOWN"], ["<s>", 0, "CONTROL"], ["</s>", 0, "CONTROL"], ["<|x y|>", 0, "USER_DEFINED"], ["ab", -1, "UNUSED"], ["", -2, "NORMAL"], ["__proto__", -3, "USER_DEFINED"], ...["▁", "a", "b", "<", "s", ">", "▁b"].map((name, i) => [name, -4 - i, "NORMAL"])] as [string, number, string][]
  const tokenizer = await ggufTokenizer(asGguf({ vocab, unk_id: 0, bos_id: 1, eos_id: 2 }, kind, { "tokenizer.ggml.unknown_token_id": { type: "u32", value: 0 }, "tokenizer.ggml.bos_token_id": { type: "u32", value: 1 }, "tokenizer.ggml.eos_token_id": { type: "u32", value: 2 } }))
  const names = (s: string, special = false): string[] => tokenizer.encode(s, { special }).map(tokenizer.tokenOf)
  expect(names("ab<|x y|> b__proto__")).toEqual(["▁", "a", "b", "<|x y|>", "▁b", "__proto__"])
  expect(names("<s>")).toEqual(["▁", "<", "s", ">"])
  expect(names("<s>a", true)).toEqual(["<s>", "▁", "a"])
  expect(names("a日本b")).toEqual(["▁", "a", "<unk>", "b"])
  expect(tokenizer.decode(tokenizer.encode("a日b"))).toBe("a \u2047 b")
  expect(tokenizer.encode("a", { wrap: true }).map(tokenizer.tokenOf)).toEqual(kind === "llama" ? ["<s>", "▁", "a"] : ["▁", "a", "</s>"])
})

test("unigram from GGUF, with its normalisation rules", async () => {
  const name = "spm_unigram_nmt_nfkc", model = modelBytes(name), { vocab } = vocabularies[name]!
  let rules = new Uint8Array(0)
  const c = new Cursor(model, model.length, (_, problem) => { throw new Error(problem) })
  eachField(c, model.length, "the model", { bytes: (f, end) => { if (f === 3) eachField(c, end, "rules", { bytes: (g, to) => { if (g === 2) rules = c.take(to - c.at, "rules").slice() } }) } })
  expect(rules.length).toBeGreaterThan(200_000)
  const tokenizer = await ggufTokenizer(asGguf({ ...vocabularies[name]!, vocab }, "t5", {
    "tokenizer.ggml.precompiled_charsmap": { type: "array", of: "u8", value: rules },
    "tokenizer.ggml.remove_extra_whitespaces": { type: "bool", value: true },
    "tokenizer.ggml.unknown_token_id": { type: "u32", value: 0 },
  }))
  for (const { text: s, ids, decoded } of recorded(name).cases) expect([tokenizer.encode(s), tokenizer.decode(ids)]).toEqual([ids, decoded])
})

test("pairs are joined in order within words, and special tokens are asked for", async () => {
  const tokenizer = await openTokenizer(utf8(JSON.stringify(byteTokenizerJson())), { config: utf8(JSON.stringify({ bos_token: "<|begin|>", eos_token: { content: "<|end|>" }, chat_template: "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}model: {% endif %}" })) })
  expect([tokenizer.size, tokenizer.bos, tokenizer.eos]).toEqual([byteTokenNames.length, id("<|begin|>"), id("<|end|>")])
  expect(tokenizer.encode("hello world").map(tokenizer.tokenOf)).toEqual(["hello", "Ġworld"])
  expect(tokenizer.encode("hello", { wrap: true }).map(tokenizer.tokenOf)).toEqual(["<|begin|>", "hello"])
  expect(tokenizer.encode("hello<|end|>", { special: true })).toEqual([id("hello"), id("<|end|>")])
  expect(tokenizer.encode("hello<|end|>").length).toBe(8)
  expect([tokenizer.decode([id("hello"), id("<|end|>")]), tokenizer.decode([id("hello"), id("<|end|>")], { special: true })]).toEqual(["hello", "hello<|end|>"])
  expect(streamed(tokenizer, tokenizer.encode("é!"))).toEqual(["", "é", "!", ""])
  const prompt = await tokenizer.chat([{ role: "user", content: "hello" }], { answer: true })
  expect(prompt).toBe("<|begin|>user: hello<|end|>model: ")
  expect(tokenizer.encode(prompt, { special: true })[0]).toBe(tokenizer.bos)
  await expect(tokenizer.chat([], { template: "{% for" })).rejects.toThrow("chat: the template does not render")
  await expect((await bytes()).chat([])).rejects.toThrow("this tokenizer came without a chat template; pass one as `template`")
})

test("GGUF's ways to cut text differ where the models' do", async () => {
  const pieces = async (pre: string, s: string): Promise<string[]> => { const t = await ggufTokenizer(byteTokenizerGguf(pre)); return t.encode(s).map(t.tokenOf) }
  expect(await pieces("llama-bpe", "12345")).toEqual(["123", "45"])
  expect(await pieces("qwen2", "12345")).toEqual(["1", "2", "3", "4", "5"])
  expect(await pieces("gpt-2", "12345")).toEqual(["123", "45"])
  expect(await pieces("llama-bpe", "\n\nhello")).toEqual(["ĊĊ", "hello"])
  expect(await pieces("gpt-2", "\n\nhello")).toEqual(["Ċ", "Ċ", "hello"])
  expect(await pieces("qwen2", "e\u0301")).toEqual(["Ã", "©"])
  expect((await ggufTokenizer(byteTokenizerGguf("llama-bpe"))).encode("hello", { wrap: true })).toEqual([id("<|begin|>"), id("hello")])
  expect((await ggufTokenizer(byteTokenizerGguf("gpt-2"))).encode("hello", { wrap: true })).toEqual([id("hello")])
})

describe("what is no tokenizer is refused, with file and place", () => {
  const format = async (wrong: Promise<unknown>, message: string): Promise<void> => {
    const e = await wrong.then(() => undefined, (found: unknown) => found)
    expect(e).toBeInstanceOf(ThimbleError)
    expect([(e as ThimbleError).code, (e as ThimbleError).message]).toEqual(["format", expect.stringContaining(message)])
  }
  test.each([
    ["half of it", "{", "tokenizer: bytes: "],
    ["a list", "[]", "bytes: is no object"],
    ["nothing", "{}", "bytes: `model` is no object; is it a tokenizer.json?"],
    ["a negative id", JSON.stringify(byteTokenizerJson({ added_tokens: [{ id: -1, content: "x" }] })), "bytes: `added_tokens[0]` has no content, or no id"],
    ["an id that is text", JSON.stringify(byteTokenizerJson({ model: { type: "BPE", vocab: { a: "b" }, merges: [] } })), 'bytes: `model.vocab` gives "a" the id "b"'],
    ["a merge of one", JSON.stringify(byteTokenizerJson({ model: { type: "BPE", vocab: { a: 0 }, merges: ["ab"] } })), "bytes: `model.merges[0]` is no pair"],
    ["an unknown decoder", JSON.stringify(byteTokenizerJson({ decoder: { type: "None" } })), "bytes: Unknown Decoder type: None"],
  ])("tokenizer.json: %s", (_, file, message) => format(openTokenizer(utf8(file)), message))
  test.each([
    ["nothing", [], "sentencepiece: bytes: has no pieces (byte 0); is it a sentencepiece model?"],
    ["cut off", [10, 200], "bytes: the file ends within the model"],
    ["a piece longer than the file", [10, 100, 1], "field 1 of the model would take 100 bytes, but there are 1 more (byte 0); is it whole?"],
    ["text that is no UTF-8", [10, 3, 10, 1, 255], "piece 0 is not valid UTF-8 (byte 4)"],
    ["an unknown type of piece", [10, 5, 10, 1, 97, 24, 9], "piece 0 is of the unknown type 9 (byte 2)"],
    ["an unknown way of storing", [11], "field 1 of the model is stored in the unknown way 3 (byte 0)"],
    ["another algorithm", [10, 3, 10, 1, 97, 18, 2, 24, 4], "pieces are found by the algorithm 4"],
    ["no unknown piece", [10, 3, 10, 1, 97], "piece 0 is to be the unknown one, but is normal"],
    ["rules that end early", [26, 6, 18, 4, 255, 0, 0, 0], "normalisation rules of 255 bytes, but there are 0"],
  ])("sentencepiece: %s", (_, file, message) => format(openSentencePiece(Uint8Array.from(file)), message))
  const less = (key: string): ReturnType<typeof byteTokenizerGguf> => { const file = byteTokenizerGguf("gpt-2"); file.metadata.delete(key); return file }
  const own = (key: string, value: GgufValue): ReturnType<typeof byteTokenizerGguf> => byteTokenizerGguf("gpt-2", { [key]: value })
  test.each([
    ["no kind", less("tokenizer.ggml.model"), "tokenizer: bytes.gguf: 'tokenizer.ggml.model' is missing; does the file have a tokenizer?"],
    ["another kind", own("tokenizer.ggml.model", { type: "string", value: "bert" }), "'tokenizer.ggml.model' is 'bert'; llama, t5 and gpt2 can be read"],
    ["an unknown cut", own("tokenizer.ggml.pre", { type: "string", value: "constructor" }), "'tokenizer.ggml.pre' is 'constructor'; known are gpt-2,"],
    ["tokens of another type", own("tokenizer.ggml.tokens", { type: "u32", value: 1 }), "'tokenizer.ggml.tokens' is u32, not strings"],
    ["too few types", own("tokenizer.ggml.token_type", { type: "array", of: "i32", value: Int32Array.of(1) }), "has 1 elements for"],
    ["a token beyond", own("tokenizer.ggml.bos_token_id", { type: "u32", value: 9999 }), "'tokenizer.ggml.bos_token_id' is 9999, but there are"],
    ["a merge of one", own("tokenizer.ggml.merges", { type: "array", of: "string", value: ["ab"] }), "has 'ab', which is no pair (element 0)"],
  ])("GGUF: %s", (_, file, message) => format(ggufTokenizer(file), message))
  test("a sentencepiece model cut anywhere is read or refused", async () => {
    const model = modelBytes("spm_bpe_bytefallback")
    await fc.assert(fc.asyncProperty(fc.nat(model.length), fc.array(fc.tuple(fc.nat(model.length - 1), fc.nat(255)), { maxLength: 3 }), async (length, changes) => {
      const file = model.slice(0, length)
      for (const [at, byte] of changes) if (at < length) file[at] = byte
      await openSentencePiece(file).then((t) => t.decode(t.encode("hello 日本")), (e: unknown) => expect((e as ThimbleError).code).toBe("format"))
    }), { numRuns: 100 })
  })
})
