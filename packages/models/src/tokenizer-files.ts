import { ggufPreTokenizers, type GgufValue } from "@thimble/formats"
import type { Model } from "./model.ts"
import { tokenTypes } from "./tokenizer-metadata.ts"

// From the metadata of a GGUF file to the tokenizer files of a directory.

/** The files that a directory of the model has besides its config and weights. */
export async function tokenizerFiles({ files, metadata }: Model): Promise<ReadonlyMap<string, Uint8Array>> {
  if (files !== undefined) return new Map([...files].filter(([name]) => name !== "config.json"))
  const made = metadata === undefined ? {} : describe(metadata)
  return new Map(Object.entries(made).map(([name, json]) => [name, new TextEncoder().encode(`${JSON.stringify(json, undefined, 2)}\n`)]))
}

/** What texts are spelled with by sentencepiece. */
const space = "\u2581"

/** Drops spaces at both ends, and of several neighbours all but one. */
const trimmed = [{ type: "Strip", strip_left: true, strip_right: true }, { type: "Replace", pattern: { Regex: " {2,}" }, content: " " }]

function describe(metadata: ReadonlyMap<string, GgufValue>): Record<string, object> {
  const get = (key: string): unknown => metadata.get(`tokenizer.${key}`)?.value
  const kind = get("ggml.model"), names = get("ggml.tokens") as readonly string[] | undefined
  if (names === undefined || (kind !== "llama" && kind !== "gpt2")) return {}
  const numbered = get("ggml.token_type") as Int32Array | undefined
  const types = names.map((_, id) => tokenTypes[(numbered?.[id] ?? 1) - 1]!)
  const special = (id: number): object => ({ id, content: names[id]!, single_word: false, lstrip: false, rstrip: false, normalized: false, special: types[id] !== "user" })
  const added = names.flatMap((_, id) => (["control", "unknown", "user"].includes(types[id]!) ? [special(id)] : []))
  const id = (key: string, otherwise?: number): number | undefined => (get(`ggml.${key}_token_id`) as number | undefined) ?? otherwise
  const standard = kind === "llama" ? { bos: 1, eos: 2, unknown: 0 } : { bos: 11, eos: 11, unknown: undefined }
  const bos = id("bos", standard.bos), eos = id("eos", standard.eos), unknown = id("unknown", standard.unknown), pad = id("padding")
  const addBos = (get("ggml.add_bos_token") ?? (kind === "llama" || get("ggml.pre") === "llama-bpe")) === true, addEos = get("ggml.add_eos_token") === true
  const around = (key: number | undefined, wanted: boolean): object[] => (wanted && key !== undefined ? [{ SpecialToken: { id: names[key], type_id: 0 } }] : [])
  const single = [...around(bos, addBos), { Sequence: { id: "A", type_id: 0 } }, ...around(eos, addEos)]
  const known = Object.fromEntries([...(addBos ? [bos] : []), ...(addEos ? [eos] : [])].filter((n) => n !== undefined).map((n) => [names[n], { id: names[n], ids: [n], tokens: [names[n]] }]))
  const post = single.length > 1 ? { type: "TemplateProcessing", single, pair: [...single, { Sequence: { id: "B", type_id: 1 } }], special_tokens: known } : null
  const template = get("chat_template")
  const config = {
    tokenizer_class: "PreTrainedTokenizerFast",
    ...(bos !== undefined && { bos_token: names[bos] }), ...(eos !== undefined && { eos_token: names[eos] }), ...(unknown !== undefined && { unk_token: names[unknown] }), ...(pad !== undefined && { pad_token: names[pad] }),
    add_bos_token: addBos, add_eos_token: addEos, clean_up_tokenization_spaces: false,
    ...(typeof template === "string" && { chat_template: template }),
  }
  const vocab = Object.fromEntries(names.map((name, n) => [name, n]))
  const common = { version: "1.0", truncation: null, padding: null, added_tokens: added }
  if (kind === "gpt2") {
    const cut = ggufPreTokenizers[get("ggml.pre") as string]
    if (cut === undefined) return {}
    const merges = (get("ggml.merges") as readonly string[]).map((m) => [m.slice(0, m.indexOf(" ", 1)), m.slice(m.indexOf(" ", 1) + 1)])
    return {
      "tokenizer.json": {
        ...common, normalizer: cut.normalizer ?? null, pre_tokenizer: cut.pre_tokenizer, post_processor: post,
        decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
        model: { type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: cut.whole ?? false, vocab, merges },
      },
      "tokenizer_config.json": config,
    }
  }
  const prefix = (get("ggml.add_space_prefix") ?? true) === true, scores = get("ggml.scores") as Float32Array
  const replace = (from: string, to: string): object => ({ type: "Replace", pattern: { String: from }, content: to })
  return {
    "tokenizer.json": {
      ...common, pre_tokenizer: null, post_processor: post,
      normalizer: { type: "Sequence", normalizers: [...(get("ggml.remove_extra_whitespaces") === true ? trimmed : []), ...(prefix ? [{ type: "Prepend", prepend: space }] : []), replace(" ", space)] },
      decoder: { type: "Sequence", decoders: [replace(space, " "), { type: "ByteFallback" }, { type: "Fuse" }, ...(prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : [])] },
      model: {
        type: "BPE", dropout: null, unk_token: unknown === undefined ? null : names[unknown], continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: true, byte_fallback: types.includes("byte"), ignore_merges: false,
        vocab, merges: mergesOf(names, scores, (n) => types[n] === "normal"),
      },
    },
    "tokenizer_config.json": config,
  }
}

/** Pairs of pieces that make a piece, those that make the highest score first; among equals, in the order of the vocabulary. */
function mergesOf(names: readonly string[], scores: ArrayLike<number>, isNormal: (id: number) => boolean): [string, string][] {
  const ids = new Map(names.flatMap((name, id): [string, number][] => (isNormal(id) ? [[name, id]] : [])))
  const found: { pair: [string, string]; score: number; left: number; right: number }[] = []
  for (const [name, id] of ids) {
    const characters = Array.from(name)
    for (let i = 1; i < characters.length; i++) {
      const pair: [string, string] = [characters.slice(0, i).join(""), characters.slice(i).join("")]
      const left = ids.get(pair[0]), right = ids.get(pair[1])
      if (left !== undefined && right !== undefined) found.push({ pair, score: scores[id]!, left, right })
    }
  }
  return found.sort((a, b) => b.score - a.score || a.left - b.left || a.right - b.right).map(({ pair }) => pair)
}
