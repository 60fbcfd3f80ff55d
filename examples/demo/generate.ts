import { setImmediate as turn } from "node:timers/promises"
import { add, attention, compile, div, random, realize, reshape, rotation, tensorsOf, updateSlice, zeros, type Key, type Tensor } from "@thimble/core"
import { run, type Config, type Parameters } from "./model.ts"

export interface GenerateOptions {
  readonly prompt: Uint8Array
  /** Bytes to write after the prompt. */
  readonly count: number
  readonly temperature: number
  readonly seed: number
  readonly signal?: AbortSignal
}
export interface Generated {
  /** The bytes after the prompt. */
  readonly bytes: Uint8Array
  /** Speed of decoding one token after the other, the first not counted. */
  readonly tokensPerSecond: number
  /** Programs that were needed: one for all positions. */
  readonly programs: number
}
/** Keys and values of the tokens seen so far, one pair per layer: [1, kvHeads, context, size]. */
type Cache = readonly { readonly keys: Tensor; readonly values: Tensor }[]

/** Continues a prompt token by token. */
export async function generate(parameters: Parameters, config: Config, { prompt, count, temperature, seed, signal }: GenerateOptions): Promise<Generated> {
  const { layers, kvHeads, width, heads, context } = config
  if (prompt.length === 0 || prompt.length + count > context) throw new RangeError(`prompt and continuation take ${prompt.length} + ${count} tokens, the context has ${context}`)
  const step = compile(decode(config), { donate: [1] })
  const empty = (): Tensor => zeros([1, kvHeads, context, width / heads])
  let cache: Cache = Array.from({ length: layers }, () => ({ keys: empty(), values: empty() }))
  const key = random.key(seed)
  await realize(key, ...tensorsOf(cache))
  const bytes: number[] = []
  let begun = 0, position = 0
  for (let token = prompt[0]!; position < prompt.length + count - 1 && !signal?.aborted; position++) {
    const made = await step(parameters, cache, BigInt(token), BigInt(position), key, temperature)
    cache = made.cache
    const next = await made.next.item()
    made.next.dispose()
    if (position + 1 >= prompt.length) bytes.push(next)
    token = prompt[position + 1] ?? next
    if (position === 0) begun = performance.now()
    await turn()
  }
  const tokensPerSecond = ((position - 1) * 1000) / (performance.now() - begun)
  for (const t of tensorsOf([cache, key])) t.dispose()
  const { programs } = step
  step.dispose()
  return { bytes: Uint8Array.from(bytes), tokensPerSecond, programs }
}

/** One token in, the next one out. Its number and position are run-time scalars, so every position runs the same program. */
function decode(config: Config) {
  return (parameters: Parameters, cache: Cache, token: Tensor, position: Tensor, key: Key, temperature: Tensor): { cache: Cache; next: Tensor } => {
    const turns = rotation(1, config.width / config.heads, { offset: position })
    const grown: { keys: Tensor; values: Tensor }[] = []
    const logits = run(parameters, config, reshape(token, [1, 1]), turns, (q, k, v, layer) => {
      const here = { axis: 2, start: position }
      const keys = updateSlice(cache[layer]!.keys, k, here), values = updateSlice(cache[layer]!.values, v, here)
      grown.push({ keys, values })
      return attention(q, keys, values, { length: add(position, 1) })
    })
    const next = random.categorical(random.foldIn(key, position), div(reshape(logits, [-1]), temperature))
    return { cache: grown, next }
  }
}
