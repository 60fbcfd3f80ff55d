/** Uniform numbers in [low, high), the same for the same seed everywhere (mulberry32). */
export function uniform(seed: number, size: number, low = -1, high = 1): Float32Array {
  const out = new Float32Array(size)
  const next = generator(seed)
  for (let i = 0; i < size; i++) out[i] = low + (next() / 2 ** 32) * (high - low)
  return out
}

/** Unsigned 32-bit integers. */
export function generator(seed: number): () => number {
  let state = Math.imul(seed + 1, 0x9e3779b9)
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return (t ^ (t >>> 14)) >>> 0
  }
}
