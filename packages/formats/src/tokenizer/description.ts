import { fail } from "@thimble/core"
import { tokenizerLibrary, type LibraryTokenizer, type TokenizerJson } from "./library.ts"
import { byteTokens, idsOfPieces, tokenizer, type Tokenizer } from "./tokenizer.ts"

/** What a description does not say. */
export interface DescriptionSettings extends Pick<Tokenizer, "bos" | "eos" | "unknown" | "template"> {
  /** What `wrap` puts around ids; the description's own post-processor unless given. */
  readonly wrap?: { readonly before: readonly number[]; readonly after: readonly number[] }
  readonly clean?: boolean
}

/** A tokenizer from a description as in tokenizer.json. `file` is for errors. */
export async function describedTokenizer(file: string, description: TokenizerJson, { bos, eos, unknown, template, wrap, clean = false }: DescriptionSettings): Promise<Tokenizer> {
  const { Tokenizer } = await tokenizerLibrary()
  const build = (d: TokenizerJson): LibraryTokenizer => {
    try {
      return new Tokenizer(d, {})
    } catch (e) {
      return fail("format", "tokenizer", `${file}: ${(e as Error).message}`)
    }
  }
  const library = build(description)
  // Special tokens are text to a tokenizer that knows none of them.
  const plain = build({ ...description, added_tokens: description.added_tokens.filter((t) => t.special !== true) })
  const names = Array.from(library.model.vocab)
  const known = new Map(names.flatMap((name, id): [string, number][] => (name === undefined ? [] : [[name, id]])))
  const bytes = description.model.byte_fallback === true ? byteTokens((name) => known.get(name)) : undefined
  const ofText = unknown ?? library.model.unk_token_id
  return tokenizer({
    names,
    special: new Map(description.added_tokens.filter((t) => t.special === true).map((t) => [t.content, t.id])),
    ...(bos !== undefined && { bos }), ...(eos !== undefined && { eos }), ...(ofText !== undefined && { unknown: ofText }), ...(template !== undefined && { template }),
    encode(text, special, wrapped) {
      const pieces = (special ? library : plain).tokenize(text, { add_special_tokens: wrapped && wrap === undefined })
      const ids = idsOfPieces(pieces, known, bytes, ofText)
      return wrapped && wrap ? [...wrap.before, ...ids, ...wrap.after] : ids
    },
    // The library refuses to decode nothing.
    decode: (ids, special) => (ids.length === 0 ? "" : library.decode(ids, { skip_special_tokens: !special, clean_up_tokenization_spaces: clean })),
  })
}
