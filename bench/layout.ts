/** [a, b, size] as [b, a, size]: heads and tokens in the other order. */
export function exchanged(x: Float32Array, a: number, b: number, size: number): Float32Array {
  const out = new Float32Array(x.length)
  for (let i = 0; i < a; i++) {
    for (let j = 0; j < b; j++) out.set(x.subarray((i * b + j) * size, (i * b + j + 1) * size), (j * a + i) * size)
  }
  return out
}
