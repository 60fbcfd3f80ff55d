import type { Charsmap } from "./charsmap.ts"

/** What sentencepiece does to a text before it looks for pieces. */
export interface Normalization {
  readonly charsmap?: Charsmap
  /** Texts begin with a space. */
  readonly prefix: boolean
  /** Drops spaces at both ends, and of several neighbours all but one. */
  readonly trim: boolean
  /** Stay as they are, wherever they stand. */
  readonly untouched: readonly string[]
}

/** How vocabularies spell a space. */
export const spaceSymbol = "▁"
const space = 0x20, spaceBytes = [...new TextEncoder().encode(spaceSymbol)]
/** Bytes of a character by its first one. */
export const widthOf = (first: number): number => (first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4)

/** Normalises as sentencepiece does, with spaces spelled ▁. Source: sentencepiece's normalizer.cc. */
export function normalizer({ charsmap, prefix, trim, untouched }: Normalization): (text: string) => string {
  const encoder = new TextEncoder()
  const kept = untouched.map((s) => encoder.encode(s)).sort((a, b) => b.length - a.length)
  return (text) => {
    const bytes = encoder.encode(text), out: number[] = []
    const next = (at: number): { length: number; by: Uint8Array } => {
      const own = kept.find((k) => k.every((b, i) => bytes[at + i] === b))
      if (own) return { length: own.length, by: own }
      const length = widthOf(bytes[at]!)
      return charsmap?.(bytes, at) ?? { length, by: bytes.subarray(at, at + length) }
    }
    let at = 0
    const isSpace = (by: Uint8Array): boolean => by.length === 1 && by[0] === space
    if (trim)
      for (; at < bytes.length; ) {
        const { length, by } = next(at)
        if (!isSpace(by)) break
        at += length
      }
    if (at >= bytes.length) return ""
    if (prefix) out.push(...spaceBytes)
    let afterSpace = trim
    while (at < bytes.length) {
      const { length, by } = next(at)
      let from = 0
      while (afterSpace && by[from] === space) from++
      for (let i = from; i < by.length; i++) {
        if (by[i] === space) out.push(...spaceBytes)
        else out.push(by[i]!)
      }
      if (from < by.length) afterSpace = trim && by[by.length - 1] === space
      at += length
    }
    const normal = new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(out))
    return trim ? normal.replace(/▁+$/, "") : normal
  }
}
