import type { Tokenizer } from "@thimble/formats"
import { sha256 } from "../sha256.ts"

const known = new WeakMap<Tokenizer, Promise<string>>()
/** What tells vocabularies apart: the hash of all names, and of the tokens with a meaning. */
export function hashOfTokenizer(tokenizer: Tokenizer): Promise<string> {
  let hash = known.get(tokenizer)
  if (hash === undefined) {
    const { size, bos, eos, unknown, special } = tokenizer
    const names = Array.from({ length: size }, (_, id) => tokenizer.tokenOf(id))
    known.set(tokenizer, (hash = sha256(JSON.stringify([names, bos ?? null, eos ?? null, unknown ?? null, [...special]]))))
  }
  return hash
}
