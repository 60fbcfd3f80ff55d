import { random } from "@thimble/core"

/** Numbers drawn at a time. */
const block = 128

/**
 * A stream of uniform numbers in [0, 1), multiples of 2⁻⁵³, for one row of a batch: the same on every device. Number n is
 * made of words 2n and 2n + 1 of the row's key, block by block.
 */
export function draws(seed: number | bigint, row: number): () => Promise<number> {
  let words: ArrayLike<number> = [], at = 0, blocks = 0
  return async () => {
    if (at === words.length) {
      const key = random.foldIn(random.foldIn(random.key(seed), row), blocks++)
      using bits = random.bits(key, [2 * block])
      words = await bits.data()
      at = 0
    }
    const high = words[at++]! >>> 5, low = words[at++]! >>> 6
    return (high * 2 ** 26 + low) / 2 ** 53
  }
}
