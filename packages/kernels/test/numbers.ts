/** Numbers 0 … 1 that are always the same. */
export function numbers(seed: number): () => number {
  let a = seed
  return () => ((a = (Math.imul(a, 1664525) + 1013904223) >>> 0) / 2 ** 32)
}
