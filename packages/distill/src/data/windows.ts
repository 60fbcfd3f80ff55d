import { fail, random, tensor } from "@thimble/core"
import { sha256 } from "@thimble/models"
import { type Data } from "./data.ts"

export interface WindowOptions {
  /** Windows per batch. */
  readonly batch: number
  /** Positions of a window. */
  readonly length: number
  /** Decides which windows; 0 unless given. */
  readonly seed?: number
  /** A token that takes the place of each window's first, so that the model knows a text by its beginning. */
  readonly begin?: number
}

/** Windows at random places of a text of tokens, each position labelled with the token that follows it. */
export function windows(tokens: Int32Array | Uint16Array | Uint8Array | readonly number[], { batch, length, seed = 0, begin }: WindowOptions): Data {
  const text = Int32Array.from(tokens), key = random.key(seed)
  for (const [name, n] of Object.entries({ batch, length })) if (!(Number.isInteger(n) && n >= 1)) fail("value", "windows", `${name} must be a whole number ≥ 1, got ${n}`)
  if (text.length <= length) fail("value", "windows", `${text.length} tokens, and windows take ${length + 1}`)
  let id: Promise<string> | undefined
  return {
    length,
    id: () => (id ??= sha256(`windows ${JSON.stringify([batch, length, seed, begin ?? null])}`, text)),
    async batch(index) {
      const places = random.randint(random.foldIn(key, index), [batch], { high: text.length - length }), starts = await places.data()
      places.dispose()
      const inputs = new Int32Array(batch * length), labels = new Int32Array(batch * length)
      starts.forEach((start, row) => {
        inputs.set(text.subarray(start, start + length), row * length)
        labels.set(text.subarray(start + 1, start + length + 1), row * length)
        if (begin !== undefined) inputs[row * length] = begin
      })
      return { inputs: tensor(inputs, { shape: [batch, length] }), labels: tensor(labels, { shape: [batch, length] }) }
    },
  }
}
