import { fail } from "@thimble/core"
import type { GgufFile } from "../gguf.ts"
import { textsOf, type GgufArray, type GgufNumbers, type GgufValue } from "../gguf-value.ts"
import type { TextList } from "../texts.ts"
import { Cursor } from "../cursor.ts"
import { readCharsmap } from "./charsmap.ts"
import { describedTokenizer } from "./description.ts"
import type { AddedToken } from "./library.ts"
import { piecesTokenizer, pieceTypes, type PieceType } from "./pieces.ts"
import type { Tokenizer } from "./tokenizer.ts"

export interface GgufTokenizerOptions {
  /** How text is cut before pairs are joined (`tokenizer.ggml.pre`), for files that say it wrongly or not at all. */
  readonly pre?: string
}

const contractions = "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
const modern = (digits: string): string => `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`
const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true }
const cutBy = (pattern: string): object => ({
  type: "Sequence",
  pretokenizers: [{ type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false }, { ...byteLevel, use_regex: false }],
})
/** Ways to cut text, by llama.cpp's names, as in tokenizer.json; `whole`: words of the vocabulary are not put together from parts. Patterns as in the tokenizer.json of these models, with cases spelled out. */
export const ggufPreTokenizers: Readonly<Record<string, { readonly pre_tokenizer: object; readonly normalizer?: object; readonly whole?: boolean }>> = {
  "gpt-2": { pre_tokenizer: byteLevel },
  "phi-2": { pre_tokenizer: byteLevel },
  "llama-bpe": { pre_tokenizer: cutBy(modern("\\p{N}{1,3}")), whole: true },
  smollm: { pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, byteLevel] } },
  qwen2: { pre_tokenizer: cutBy(modern("\\p{N}")), normalizer: { type: "NFC" } },
}

/** The tokenizer of a GGUF file: vocabularies of the kinds `llama`, `t5` (sentencepiece) and `gpt2` (BPE on bytes). */
export async function ggufTokenizer({ name: file, metadata }: Pick<GgufFile, "name" | "metadata">, options: GgufTokenizerOptions = {}): Promise<Tokenizer> {
  const refuse = (key: string, problem: string, hint?: string): never => fail("format", "tokenizer", `${file}: 'tokenizer.${key}' ${problem}`, hint)
  const read = <T>(key: string, is: (v: GgufValue) => T | undefined, what: string): T | undefined => {
    const value = metadata.get(`tokenizer.${key}`)
    return value === undefined ? undefined : is(value) ?? refuse(key, `is ${value.type === "array" ? `an array of ${value.of}` : value.type}, not ${what}`)
  }
  const string = (key: string): string | undefined => read(key, (v) => (v.type === "string" ? v.value : undefined), "a string")
  const flag = (key: string): boolean | undefined => read(key, (v) => (v.type === "bool" ? v.value : undefined), "a bool")
  const array = (key: string): (GgufArray & { of: "string" }) | undefined => read(key, (v) => (v.type === "array" && v.of === "string" ? v : undefined), "strings")
  const numbers = <T extends keyof GgufNumbers>(key: string, of: T): GgufNumbers[T] | undefined => read(key, (v) => (v.type === "array" && v.of === of ? (v.value as GgufNumbers[T]) : undefined), `an array of ${of}`)

  const kind = string("ggml.model") ?? refuse("ggml.model", "is missing", "does the file have a tokenizer?")
  const tokens = array("ggml.tokens") ?? refuse("ggml.tokens", "is missing"), names: TextList = textsOf(tokens)
  if (names.length === 0) refuse("ggml.tokens", "has no tokens")
  const perToken = <A extends ArrayLike<number>>(key: string, values: A | undefined): A | undefined =>
    (values !== undefined && values.length !== names.length ? refuse(key, `has ${values.length} elements for ${names.length} tokens`) : values)
  const numbered = perToken("ggml.token_type", numbers("ggml.token_type", "i32"))
  const types: PieceType[] = new Array(names.length)
  for (let id = 0; id < types.length; id++) types[id] = pieceTypes[(numbered?.[id] ?? 1) - 1] ?? refuse("ggml.token_type", `gives token ${id} the unknown type ${numbered![id]}`)
  const token = (key: string, otherwise?: number): number | undefined => {
    const id = read(key, (v) => (v.type === "u32" ? v.value : undefined), "a u32") ?? otherwise
    return id !== undefined && id >= names.length ? (metadata.has(`tokenizer.${key}`) ? refuse(key, `is ${id}, but there are ${names.length} tokens`) : undefined) : id
  }
  const template = string("chat_template")
  const ends = (bosId: number | undefined, eosId: number | undefined): Pick<Tokenizer, "bos" | "eos" | "template"> => ({
    ...(bosId !== undefined && { bos: bosId }), ...(eosId !== undefined && { eos: eosId }), ...(template !== undefined && { template }),
  })

  if (kind === "llama" || kind === "t5") {
    const bos = token("ggml.bos_token_id", kind === "llama" ? 1 : undefined), eos = token("ggml.eos_token_id", kind === "llama" ? 2 : 1)
    const unknown = token("ggml.unknown_token_id", kind === "llama" ? 0 : 2) ?? refuse("ggml.unknown_token_id", "is missing")
    const scores = perToken("ggml.scores", numbers("ggml.scores", "f32")) ?? refuse("ggml.scores", "is missing")
    const rules = numbers("ggml.precompiled_charsmap", "u8") ?? new Uint8Array(0)
    const charsmap = rules.length > 0 && readCharsmap(new Cursor(rules, rules.length, (at, problem) => refuse("ggml.precompiled_charsmap", `${problem} (byte ${at})`)), rules.length)
    return piecesTokenizer({
      algorithm: kind === "llama" ? "bpe" : "unigram", names, scores, types, unknown, unknownText: " \u2047 ", byteFallback: types.includes("byte"), ...ends(bos, eos),
      normalization: { ...(charsmap && { charsmap }), prefix: flag("ggml.add_space_prefix") ?? true, trim: flag("ggml.remove_extra_whitespaces") ?? false },
      wrap: { bos: flag("ggml.add_bos_token") ?? kind === "llama", eos: flag("ggml.add_eos_token") ?? kind === "t5" },
    })
  }
  if (kind !== "gpt2") return refuse("ggml.model", `is '${kind}'; llama, t5 and gpt2 can be read`)
  const bos = token("ggml.bos_token_id", 11), eos = token("ggml.eos_token_id", 11), unknown = token("ggml.unknown_token_id")
  const pre = options.pre ?? string("ggml.pre") ?? "nothing"
  const cut = (Object.hasOwn(ggufPreTokenizers, pre) ? ggufPreTokenizers[pre] : undefined) ?? refuse("ggml.pre", `is '${pre}'; known are ${Object.keys(ggufPreTokenizers).join(", ")}`, "pass the nearest of them as `pre`")
  const merges = array("ggml.merges")?.value ?? refuse("ggml.merges", "is missing"), words = tokens.value
  const wrong = merges.findIndex((m) => !m.includes(" ", 1))
  if (wrong >= 0) refuse("ggml.merges", `has '${merges[wrong]}', which is no pair (element ${wrong})`)
  return describedTokenizer(file, {
    added_tokens: words.flatMap((content, id): AddedToken[] => (types[id] === "control" || types[id] === "user" ? [{ id, content, special: types[id] === "control", normalized: false }] : [])),
    normalizer: cut.normalizer ?? null,
    pre_tokenizer: cut.pre_tokenizer,
    post_processor: null,
    decoder: byteLevel,
    model: { type: "BPE", vocab: Object.fromEntries(words.map((name, id) => [name, id])), merges: merges.map((m) => [m.slice(0, m.indexOf(" ", 1)), m.slice(m.indexOf(" ", 1) + 1)]), ignore_merges: cut.whole ?? false, unk_token: null },
  }, {
    ...ends(bos, eos), ...(unknown !== undefined && { unknown }),
    wrap: { before: (flag("ggml.add_bos_token") ?? pre === "llama-bpe") && bos !== undefined ? [bos] : [], after: (flag("ggml.add_eos_token") ?? false) && eos !== undefined ? [eos] : [] },
  })
}
