// Vocabularies for tests: recorded ones in other clothes, and one on bytes.
import { contentsOf, goldenFile, jsonOf } from "../../conformance/src/golden.ts"
import type { GgufValue } from "../src/index.ts"

export interface Vocabulary { readonly vocab: readonly (readonly [name: string, score: number, type: string])[]; readonly unk_id: number; readonly bos_id: number; readonly eos_id: number }
export interface Recorded { readonly model: string; readonly cases: readonly { readonly text: string; readonly ids: readonly number[]; readonly decoded: string }[] }

const fileOf = (name: string): URL => goldenFile("tokenizers", name, new URL("../fixtures", import.meta.url))
export const vocabularies = await jsonOf<Readonly<Record<string, Vocabulary>>>(fileOf("vocabs.json"))
const files = new Map(await Promise.all(Object.keys(vocabularies).map(async (name) =>
  [name, { recorded: await jsonOf<Recorded>(fileOf(`${name}.json`)), model: await contentsOf(fileOf(`${name}.model`)) }] as const)))
export const recorded = (name: string): Recorded => files.get(name)!.recorded
export const modelBytes = (name: string): Uint8Array => files.get(name)!.model

const typeNames = ["NORMAL", "UNKNOWN", "CONTROL", "USER_DEFINED", "UNUSED", "BYTE"]
/** A recorded vocabulary as metadata of a GGUF file. */
export const asGguf = ({ vocab }: Vocabulary, model: string, more: Readonly<Record<string, GgufValue>> = {}): { name: string; metadata: Map<string, GgufValue> } => ({
  name: "some.gguf",
  metadata: new Map<string, GgufValue>([
    ["tokenizer.ggml.model", { type: "string", value: model }],
    ["tokenizer.ggml.tokens", { type: "array", of: "string", value: vocab.map(([name]) => name) }],
    ["tokenizer.ggml.scores", { type: "array", of: "f32", value: Float32Array.from(vocab, ([, score]) => score) }],
    ["tokenizer.ggml.token_type", { type: "array", of: "i32", value: Int32Array.from(vocab, ([, , type]) => typeNames.indexOf(type) + 1) }],
    ...Object.entries(more),
  ]),
})

/** Characters that byte-level vocabularies spell bytes with (GPT-2). */
const byteCharacters = Array.from({ length: 256 }, (_, b) => b).map((b, _, all) => {
  const plain = (n: number): boolean => (n >= 0x21 && n <= 0x7e) || (n >= 0xa1 && n <= 0xac) || n >= 0xae
  return String.fromCodePoint(plain(b) ? b : 256 + all.filter((n) => n < b && !plain(n)).length)
})
export const byteMerges = ["h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "Ġwor l", "Ġworl d", "1 2", "12 3", "4 5", "Ċ Ċ"]
/** All bytes, what the merges make, and two special tokens. */
export const byteTokenNames = [...byteCharacters, ...byteMerges.map((m) => m.replace(" ", "")), "<|begin|>", "<|end|>"]
const [begin, end] = [byteTokenNames.length - 2, byteTokenNames.length - 1]

export const byteTokenizerJson = (more: object = {}): Record<string, unknown> => ({
  added_tokens: [begin, end].map((id) => ({ id, content: byteTokenNames[id], special: true, normalized: false, single_word: false, lstrip: false, rstrip: false })),
  normalizer: null,
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
  post_processor: { type: "TemplateProcessing", single: [{ SpecialToken: { id: "<|begin|>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }], pair: [], special_tokens: {} },
  decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
  model: { type: "BPE", vocab: Object.fromEntries(byteTokenNames.slice(0, begin).map((name, id) => [name, id])), merges: byteMerges },
  ...more,
})
export const byteTokenizerGguf = (pre: string, more: Readonly<Record<string, GgufValue>> = {}): { name: string; metadata: Map<string, GgufValue> } => ({
  name: "bytes.gguf",
  metadata: new Map<string, GgufValue>([
    ["tokenizer.ggml.model", { type: "string", value: "gpt2" }],
    ["tokenizer.ggml.pre", { type: "string", value: pre }],
    ["tokenizer.ggml.tokens", { type: "array", of: "string", value: byteTokenNames }],
    ["tokenizer.ggml.token_type", { type: "array", of: "i32", value: Int32Array.from(byteTokenNames, (_, id) => (id >= begin ? 3 : 1)) }],
    ["tokenizer.ggml.merges", { type: "array", of: "string", value: byteMerges }],
    ["tokenizer.ggml.bos_token_id", { type: "u32", value: begin }],
    ["tokenizer.ggml.eos_token_id", { type: "u32", value: end }],
    ...Object.entries(more),
  ]),
})
export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
