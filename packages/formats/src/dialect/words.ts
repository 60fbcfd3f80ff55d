import type { Bits } from "../packing.ts"

/**
 * Codes [lines, length] as [lines, ⌈length · bits / 32⌉] words: each line a stream of bits, the lowest first. Of 3, 5, 6 and
 * 7 bits some codes lie in two words.
 */
export function packWords(codes: Uint8Array, lines: number, length: number, bits: Bits): Int32Array {
  const words = Math.ceil((length * bits) / 32), out = new Int32Array(lines * words)
  for (let line = 0, i = 0; line < lines; line++)
    for (let k = 0; k < length; k++, i++) {
      const word = line * words + ((k * bits) >>> 5), shift = (k * bits) & 31, code = codes[i]!
      out[word]! |= code << shift
      if (shift + bits > 32) out[word + 1]! |= code >>> (32 - shift)
    }
  return out
}

/** The inverse of {@link packWords}; bits behind the last code of a line are left alone. */
export function unpackWords(packed: Int32Array | Uint32Array, lines: number, length: number, bits: Bits): Uint8Array {
  const words = Math.ceil((length * bits) / 32), out = new Uint8Array(lines * length), mask = 2 ** bits - 1
  for (let line = 0, i = 0; line < lines; line++)
    for (let k = 0; k < length; k++, i++) {
      const word = line * words + ((k * bits) >>> 5), shift = (k * bits) & 31
      const rest = shift + bits > 32 ? packed[word + 1]! << (32 - shift) : 0
      out[i] = ((packed[word]! >>> shift) | rest) & mask
    }
  return out
}
