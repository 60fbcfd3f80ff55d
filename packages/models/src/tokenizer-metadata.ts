import { fail } from "@thimble/core"
import { ggufPreTokenizers, readSentencePiece, type GgufValue, type Pieces, type PieceType } from "@thimble/formats"
import { parseJson } from "./folder.ts"
import type { Model } from "./model.ts"

// From the tokenizer files of a directory to the metadata of a GGUF file.

type Fields = Readonly<Record<string, unknown>>
export const isFields = (x: unknown): x is Fields => typeof x === "object" && x !== null && !Array.isArray(x)
export const asFields = (x: unknown): Fields => (isFields(x) ? x : {})
/** Types of tokens in the order of their numbers, from 1. */
export const tokenTypes = ["normal", "unknown", "control", "user", "unused", "byte"] as const satisfies PieceType[]

/** A vocabulary as GGUF files have it. */
interface Vocabulary {
  readonly kind: "llama" | "gpt2" | "t5"
  readonly names: readonly string[]
  readonly types: readonly PieceType[]
  readonly scores?: ArrayLike<number>
  readonly merges?: readonly string[]
  readonly pre?: string
  readonly unknown?: number
  readonly prefix?: boolean
  readonly trim?: boolean
}

/** The `tokenizer.…` keys for a model. */
export async function tokenizerMetadata({ files, tokenizer, config }: Model): Promise<[string, GgufValue][]> {
  const json = files?.get("tokenizer.json"), pieces = files?.get("tokenizer.model")
  if (json === undefined && pieces === undefined) {
    if (tokenizer !== undefined) fail("value", "saveModel", "the model has a tokenizer, but not the file that it came from", "load it with the model, or pass the file in `files`, as tokenizer.json or tokenizer.model")
    return [["tokenizer.ggml.model", { type: "string", value: "no_vocab" }]]
  }
  const found = json !== undefined ? fromJson(parseJson(json, "tokenizer.json")) : fromPieces(await readSentencePiece(pieces!))
  if (found.names.length > config.vocabulary) fail("value", "saveModel", `the tokenizer has ${found.names.length} tokens, the model rows for ${config.vocabulary}`)
  // The embedding may have rows to spare; llama.cpp wants a token for each.
  const spare = Array.from({ length: config.vocabulary - found.names.length }, (_, i) => `[PAD${found.names.length + i}]`)
  const names = [...found.names, ...spare], types = [...found.types, ...spare.map(() => "unused" as const)]
  const { scores, merges, pre, prefix, trim, kind } = found, wrapped = tokenizer?.encode("", { wrap: true }) ?? []
  const bos = tokenizer?.bos ?? config.bos, eos = tokenizer?.eos ?? config.eos?.[0], unknown = found.unknown
  const id = (key: string, value: number | undefined): [string, GgufValue][] => (value === undefined || value >= names.length ? [] : [[`tokenizer.ggml.${key}_token_id`, { type: "u32", value }]])
  const flag = (key: string, value: boolean | undefined): [string, GgufValue][] => (value === undefined ? [] : [[`tokenizer.ggml.${key}`, { type: "bool", value }]])
  return [
    ["tokenizer.ggml.model", { type: "string", value: kind }],
    ...(pre === undefined ? [] : [["tokenizer.ggml.pre", { type: "string", value: pre }] as [string, GgufValue]]),
    ["tokenizer.ggml.tokens", { type: "array", of: "string", value: names }],
    ...(scores === undefined ? [] : [["tokenizer.ggml.scores", { type: "array", of: "f32", value: Float32Array.from(names, (_, i) => scores[i] ?? -1000) }] as [string, GgufValue]]),
    ["tokenizer.ggml.token_type", { type: "array", of: "i32", value: Int32Array.from(types, (t) => tokenTypes.indexOf(t) + 1) }],
    ...(merges === undefined ? [] : [["tokenizer.ggml.merges", { type: "array", of: "string", value: merges }] as [string, GgufValue]]),
    ...id("bos", bos), ...id("eos", eos), ...id("unknown", unknown), ...id("padding", config.pad),
    ...flag("add_bos_token", bos !== undefined && wrapped[0] === bos), ...flag("add_eos_token", eos !== undefined && wrapped.at(-1) === eos),
    ...flag("add_space_prefix", prefix), ...flag("remove_extra_whitespaces", trim),
    ...(tokenizer?.template === undefined ? [] : [["tokenizer.chat_template", { type: "string", value: tokenizer.template }] as [string, GgufValue]]),
  ]
}

function fromPieces({ algorithm, names, scores, types, unknown, normalization: { charsmap, prefix, trim } }: Pieces): Vocabulary {
  if (charsmap !== undefined) fail("value", "saveModel", "the tokenizer normalises texts by a map of characters, which is not written to GGUF files", "save a directory, or convert the tokenizer with llama.cpp")
  return { kind: algorithm === "bpe" ? "llama" : "t5", names: types.map((_, id) => names.at(id)!), scores, types, unknown, prefix, trim }
}

function fromJson(json: Fields): Vocabulary {
  const refuse = (problem: string): never => fail("value", "saveModel", `tokenizer.json: ${problem}, which cannot be written to a GGUF file`, "save a directory")
  const model = asFields(json.model), vocab = model.vocab
  if (model.type !== "BPE" && !(model.type === undefined && Array.isArray(model.merges))) return refuse(`the model is of type ${JSON.stringify(model.type)}`)
  const added = (Array.isArray(json.added_tokens) ? json.added_tokens : []).filter(isFields) as { id: number; content: string; special?: boolean }[]
  const entries: [string, number][] = [...Object.entries(asFields(vocab) as Record<string, number>), ...added.map(({ content, id }): [string, number] => [content, id])]
  const names: string[] = []
  for (const [name, id] of entries) names[id] = name
  for (let id = 0; id < names.length; id++) names[id] ??= `[PAD${id}]`
  const isAdded = new Map(added.map(({ id, special }) => [id, special === true ? ("control" as const) : ("user" as const)]))
  const unknown = typeof model.unk_token === "string" ? names.indexOf(model.unk_token) : -1
  const merges = (model.merges as readonly (string | readonly [string, string])[]).map((m): [string, string] => (typeof m === "string" ? [m.slice(0, m.indexOf(" ", 1)), m.slice(m.indexOf(" ", 1) + 1)] : [m[0], m[1]]))
  const there = new Set(entries.map(([, id]) => id))
  if (model.byte_fallback === true) {
    // Sentencepiece's kind: pairs are joined by score, which here is the rank of the first pair that makes a piece.
    const ranks = new Map<string, number>()
    merges.forEach(([left, right], rank) => ranks.has(left + right) || ranks.set(left + right, rank))
    const steps = [json.normalizer, json.pre_tokenizer].flatMap((step) => (isFields(step) ? [step, ...(Array.isArray(step.normalizers) ? step.normalizers : Array.isArray(step.pretokenizers) ? step.pretokenizers : [])] : [])).filter(isFields)
    const prefix = steps.some(({ type, prepend_scheme: scheme, add_prefix_space: space }) => type === "Prepend" || (type === "Metaspace" && scheme !== "never" && space !== false))
    return {
      kind: "llama", names, prefix, scores: names.map((name, id) => (ranks.has(name) ? -ranks.get(name)! : -(merges.length + id))),
      types: names.map((name, id) => (id === unknown ? "unknown" : /^<0x[0-9A-F]{2}>$/.test(name) ? "byte" : isAdded.get(id) ?? (there.has(id) ? "normal" : "unused"))),
      ...(unknown >= 0 && { unknown }),
    }
  }
  return {
    kind: "gpt2", names, pre: preTokenizerName(json) ?? refuse("its pre-tokenizer is not one that llama.cpp has a name for here"),
    types: names.map((_, id) => isAdded.get(id) ?? (there.has(id) ? "normal" : "unused")), merges: merges.map((m) => m.join(" ")),
  }
}

/** Patterns of tokenizer.json files, with cases by a flag, by llama.cpp's names. */
const patterns: Readonly<Record<string, string>> = {
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+": "llama-bpe",
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+": "qwen2",
}
for (const [name, { pre_tokenizer: cut }] of Object.entries(ggufPreTokenizers)) for (const pattern of patternsIn(cut)) (patterns as Record<string, string>)[pattern] ??= name

function patternsIn(step: unknown): string[] {
  const { pattern, pretokenizers } = asFields(step), own = asFields(pattern).Regex
  return typeof own === "string" ? [own] : Array.isArray(pretokenizers) ? pretokenizers.flatMap(patternsIn) : []
}

/** llama.cpp's name of how a tokenizer cuts texts. */
function preTokenizerName({ pre_tokenizer: cut }: Fields): string | undefined {
  const found = patternsIn(cut), steps = asFields(cut).pretokenizers ?? [cut]
  if (found.length > 0) return found.length === 1 ? patterns[found[0]!] : undefined
  const types = (steps as unknown[]).map((s) => asFields(s).type)
  if (types.join() === "Digits,ByteLevel") return "smollm"
  return types.join() === "ByteLevel" ? "gpt-2" : undefined
}
