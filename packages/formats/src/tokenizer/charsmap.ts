import type { Cursor } from "../cursor.ts"

/** Finds the longest rule that applies to text (UTF-8) from `at` on: how many bytes it replaces, and by what. */
export type Charsmap = (text: Uint8Array, at: number) => { readonly length: number; readonly by: Uint8Array } | undefined

/**
 * sentencepiece's compiled normalisation rules: the bytes of a double-array trie (darts-clone), whose values are offsets
 * into the replacements behind it, each ended by a zero byte. Source: sentencepiece's normalizer.cc, darts.h.
 */
export function readCharsmap(c: Cursor, end: number): Charsmap {
  const begin = c.at, size = c.u32("the size of the normalisation rules")
  if (size % 4 !== 0 || size === 0 || size > end - c.at) c.fail(begin, `normalisation rules of ${size} bytes, but there are ${end - c.at}, in words of four`)
  const trie = new Uint32Array(c.take(size, "the normalisation rules").slice().buffer)
  const replacements = c.take(end - c.at, "the replacements").slice()
  const found = new Map<number, Uint8Array>()
  const replacement = (offset: number): Uint8Array => {
    let by = found.get(offset)
    if (by === undefined) {
      const stop = replacements.indexOf(0, offset)
      found.set(offset, (by = replacements.subarray(offset, stop < 0 ? replacements.length : stop)))
    }
    return by
  }
  // A unit: bits 0–7 and 31 its label, bit 8 whether a value hangs on it, bits 10–30 the offset, shifted by 8 if bit 9 is set.
  const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6)
  return (text, at) => {
    let node = offsetOf(trie[0]!), best: { length: number; by: Uint8Array } | undefined
    for (let i = at; i < text.length; i++) {
      node ^= text[i]!
      const unit = trie[node]
      if (unit === undefined || (unit & 0x800000ff) >>> 0 !== text[i]) break
      node ^= offsetOf(unit)
      if (unit & 0x100) best = { length: i + 1 - at, by: replacement((trie[node] ?? 0) & 0x7fffffff) }
    }
    return best
  }
}
