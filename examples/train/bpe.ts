// Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909) on bytes, as in GPT-2: what is merged next is the pair that
// occurs most often.

/** How GPT-2 cuts a text into words before pairs are counted: a word takes the space before it along. */
export const words = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu

export interface Vocabulary {
  /** Spelling of each token, every byte as one printable character; the token's id is its place. */
  readonly tokens: readonly string[]
  /** Pairs of spellings in the order in which they were found. */
  readonly merges: readonly (readonly [left: string, right: string])[]
}

/** A printable character for each byte: itself where it is visible in Latin-1, otherwise the next one from U+0100 on. */
export const spelling: readonly string[] = (() => {
  const visible = (b: number): boolean => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae
  let next = 0x100
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(visible(b) ? b : next++))
})()

/** Learns a vocabulary of `size` tokens, 256 bytes first. The same texts give the same: of equal counts the pair with the lower ids wins. */
export function learnVocabulary(texts: Iterable<string>, size: number): Vocabulary {
  const counts = new Map<string, number>()
  for (const text of texts) for (const [word] of text.matchAll(words)) counts.set(word, (counts.get(word) ?? 0) + 1)
  const encoder = new TextEncoder()
  const parts = Array.from(counts, ([word, count]) => ({ ids: Array.from(encoder.encode(word)), count }))

  // A pair is one number, left·2²⁰ + right; beside its count stand the words it was ever seen in.
  const pairs = new Map<number, { count: number; readonly seen: Set<number> }>()
  const note = (pair: number, count: number, word: number): void => {
    let p = pairs.get(pair)
    if (p === undefined) pairs.set(pair, (p = { count: 0, seen: new Set() }))
    p.count += count
    if (count > 0) p.seen.add(word)
  }
  const noteAll = (word: number, sign: 1 | -1): void => {
    const { ids, count } = parts[word]!
    for (let i = 1; i < ids.length; i++) note(ids[i - 1]! * base + ids[i]!, sign * count, word)
  }
  parts.forEach((_, word) => noteAll(word, 1))

  const tokens = [...spelling], merges: [string, string][] = []
  while (tokens.length < size) {
    let best = -1, most = 0
    for (const [pair, { count }] of pairs) if (count > most || (count === most && pair < best)) [best, most] = [pair, count]
    if (most < 2) throw new RangeError(`the texts have pairs for ${tokens.length} tokens only, ${size} were asked for`)
    const left = Math.floor(best / base), right = best % base, made = tokens.length
    for (const word of pairs.get(best)!.seen) {
      noteAll(word, -1)
      parts[word]!.ids = merged(parts[word]!.ids, left, right, made)
      noteAll(word, 1)
    }
    pairs.delete(best)
    tokens.push(tokens[left]! + tokens[right]!)
    merges.push([tokens[left]!, tokens[right]!])
  }
  return { tokens, merges }
}
const base = 2 ** 20

function merged(ids: readonly number[], left: number, right: number, made: number): number[] {
  const out: number[] = []
  for (let i = 0; i < ids.length; i++) {
    const both = ids[i] === left && ids[i + 1] === right
    out.push(both ? made : ids[i]!)
    if (both) i++
  }
  return out
}
