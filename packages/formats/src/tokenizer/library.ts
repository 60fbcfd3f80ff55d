// The library that tokenizes: what is used of it, and the one place that loads it.

/** A description as in tokenizer.json. */
export interface TokenizerJson {
  readonly model: Readonly<Record<string, unknown>>
  readonly added_tokens: readonly AddedToken[]
  readonly normalizer: unknown
  readonly pre_tokenizer: unknown
  readonly post_processor: unknown
  readonly decoder: unknown
}
export interface AddedToken { readonly id: number; readonly content: string; readonly special?: boolean; readonly normalized?: boolean; readonly lstrip?: boolean; readonly rstrip?: boolean; readonly single_word?: boolean }

export interface LibraryTokenizer {
  readonly model: { readonly vocab: readonly (string | undefined)[]; readonly unk_token_id?: number }
  tokenize(text: string, options: { add_special_tokens: boolean }): string[]
  decode(ids: readonly number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string
}

/** What is used of the library, whose own types do not resolve under Node's rules. */
interface Library {
  readonly Tokenizer: new (description: TokenizerJson, config: object) => LibraryTokenizer
  readonly BPE: new (model: { vocab: object; merges: readonly string[] }) => { bpe_ranks: ReadonlyMap<string, number>; bpe(word: string): readonly string[] }
  readonly Unigram: new (model: { unk_id: number; vocab: readonly (readonly [name: string, score: number])[] }) => { tokenize(text: string): string[] }
}
export const tokenizerLibrary = async (): Promise<Library> => (await import("@huggingface/tokenizers")) as unknown as Library
