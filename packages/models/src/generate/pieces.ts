import { bucket } from "../cache.ts"

/** Tokens that are computed together: which, and how many there are with padding behind. */
export interface Piece { readonly start: number; readonly count: number; readonly padded: number }

/** More tokens at a time make nothing faster, and take more memory. */
const longest = 512

/**
 * Cuts new tokens into pieces of few lengths, so that few programs serve prompts of all lengths: each a power of two (or
 * 1), with at most a quarter of padding above 32, which has to fit into what is left of `room`.
 */
export function pieces(total: number, position: number, room: number): Piece[] {
  const out: Piece[] = []
  for (let start = 0; start < total; ) {
    const left = total - start, size = Math.min(bucket(left), longest), free = room - position - start
    const half = size / 2
    const padded = left < size && ((size > 32 && left < 0.75 * size) || size > free) ? (half < 8 ? 1 : half) : size
    const count = Math.min(left, padded)
    out.push({ start, count, padded })
    start += count
  }
  return out
}
