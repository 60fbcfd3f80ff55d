import { learnVocabulary, type Vocabulary } from "./bpe.ts"

/** Begins every text and ends it. */
export const endOfText = "<|endoftext|>"

/** Learns a vocabulary of `size` tokens, the last of which is {@link endOfText}. */
export const learnTokenizer = (texts: Iterable<string>, size: number): { tokenizer: object; config: object } => describe(learnVocabulary(texts, size - 1))

/** What tokenizer.json and tokenizer_config.json say of a vocabulary, for the libraries of Hugging Face and for llama.cpp's converter. */
export function describe({ tokens, merges }: Vocabulary): { tokenizer: object; config: object } {
  const id = tokens.length
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true }
  const token = { content: endOfText, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
  const tokenizer = {
    version: "1.0", truncation: null, padding: null,
    added_tokens: [{ id, ...token }],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: endOfText, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [{ SpecialToken: { id: endOfText, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 0 } }],
      special_tokens: { [endOfText]: { id: endOfText, ids: [id], tokens: [endOfText] } },
    },
    decoder: byteLevel,
    model: {
      type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: false,
      vocab: Object.fromEntries([...tokens, endOfText].map((t, i) => [t, i])),
      merges: merges.map((pair) => pair.join(" ")),
    },
  }
  const config = {
    tokenizer_class: "PreTrainedTokenizerFast", model_max_length: 256, clean_up_tokenization_spaces: false, add_bos_token: true,
    bos_token: endOfText, eos_token: endOfText, added_tokens_decoder: { [id]: token },
  }
  return { tokenizer, config }
}
