/** What models are computed with: its threads and its code are there before a model is. */
export interface Engine { load(path: string): Promise<Runner> }
/** A model that is open. */
export interface Runner {
  /** Generates tokens after a prompt, each the most probable one; ms from the first token to the last, or to the only one. */
  generate(prompt: readonly number[], tokens: number): Promise<number>
  /** The most bytes that it knows it held, its cache included. */
  held?(): number
}

/** Reads tokens, and times them. */
export async function timed(tokens: AsyncIterable<unknown>, count: number): Promise<number> {
  const start = performance.now()
  let first = start, n = 0
  for await (const _ of tokens) {
    if (++n === 1) first = performance.now()
    if (n === count) break
  }
  if (n !== count) throw new Error(`made ${n} tokens instead of ${count}`)
  return performance.now() - (count === 1 ? start : first)
}
