import { openTokenizer, type Tokenizer } from "@thimble/formats"

/** Characters that byte-level vocabularies spell bytes with (GPT-2). */
const plain = (n: number): boolean => (n >= 0x21 && n <= 0x7e) || (n >= 0xa1 && n <= 0xac) || n >= 0xae
const spelled = Array.from({ length: 256 }, (_, b) => b).map((b, _, all) => String.fromCodePoint(plain(b) ? b : 256 + all.filter((n) => n < b && !plain(n)).length))

/** A token for each byte, then one that begins texts and one that ends turns. */
export const begin = 256, end = 257

export async function byteTokenizer(template?: string): Promise<Tokenizer> {
  const special = ["<s>", "</s>"].map((content, i) => ({ id: begin + i, content, special: true, normalized: false, single_word: false, lstrip: false, rstrip: false }))
  const json = {
    added_tokens: special, normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: { type: "TemplateProcessing", single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }], pair: [], special_tokens: {} },
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: { type: "BPE", vocab: Object.fromEntries(spelled.map((name, id) => [name, id])), merges: [] },
  }
  const bytes = (x: object): Uint8Array => new TextEncoder().encode(JSON.stringify(x))
  return openTokenizer(bytes(json), { config: bytes({ bos_token: "<s>", eos_token: "</s>", ...(template !== undefined && { chat_template: template }) }) })
}
