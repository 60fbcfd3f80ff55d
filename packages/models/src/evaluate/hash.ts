import type { Tokenizer } from "@thimble/formats"

/** SHA-256 in hexadecimal digits. */
export async function sha256(data: string | Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", typeof data === "string" ? new TextEncoder().encode(data) : data)
  return Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, "0")).join("")
}

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
