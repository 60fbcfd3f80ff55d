import { add, attention, denseWeight, mul, permute, random, realize, reshape, rmsNorm, rope, rotation, silu, ones, tensorsOf, type Key, type Tensor, type Weight } from "@thimble/core"

/** Sizes of a Llama-shaped model. */
export interface Config {
  /** Tokens that the model knows. */
  readonly vocabulary: number
  readonly width: number
  readonly layers: number
  readonly heads: number
  /** Heads of keys and values, each shared by heads/kvHeads heads of queries. */
  readonly kvHeads: number
  /** Width of the feed-forward part. */
  readonly hidden: number
  /** The most tokens the model is asked to look back on. */
  readonly context: number
}

export interface Block {
  readonly attentionNorm: Tensor
  readonly query: Weight
  readonly key: Weight
  readonly value: Weight
  readonly output: Weight
  readonly feedNorm: Tensor
  readonly gate: Weight
  readonly up: Weight
  readonly down: Weight
}
/** A model is its parameters: a tree of weights, however they are stored, and a few vectors. */
export interface Parameters {
  /** Rows are the tokens' vectors, and what the last state is compared with, too (tied embeddings). */
  readonly embedding: Weight
  readonly blocks: readonly Block[]
  readonly norm: Tensor
}

/** Parameters to start training with, the same for the same key. */
export async function initialize({ vocabulary, width, layers, heads, kvHeads, hidden }: Config, key: Key): Promise<Parameters> {
  const keys = random.split(key, 1 + 7 * layers)
  const weight = (out: number, inputs: number, std: number): Weight => denseWeight(random.normal(keys.pop()!, [out, inputs], { std }))
  const size = width / heads
  // What is added to the residual stream is made smaller the more of it there is.
  const std = 0.5 / Math.sqrt(width), added = std / Math.sqrt(layers)
  const parameters = {
    embedding: weight(vocabulary, width, 0.02),
    blocks: Array.from({ length: layers }, () => ({
      attentionNorm: ones([width]),
      query: weight(width, width, std),
      key: weight(kvHeads * size, width, std),
      value: weight(kvHeads * size, width, std),
      output: weight(width, width, added),
      feedNorm: ones([width]),
      gate: weight(hidden, width, std),
      up: weight(hidden, width, std),
      down: weight(width, hidden, added),
    })),
    norm: ones([width]),
  }
  await realize(...tensorsOf(parameters))
  return parameters
}

/** Logits [batch, length, vocabulary] of the tokens that follow ids [batch, length]. */
export function forward({ embedding, blocks, norm }: Parameters, { heads, kvHeads }: Config, ids: Tensor): Tensor {
  let x = embedding.rows(ids)
  const [batch, length, width] = x.shape as [number, number, number]
  const turns = rotation(length, width / heads)
  const split = (t: Tensor, n: number): Tensor => permute(reshape(t, [batch, length, n, width / heads]), [0, 2, 1, 3])
  for (const b of blocks) {
    const a = rmsNorm(x, b.attentionNorm)
    const q = rope(split(b.query.apply(a), heads), turns), k = rope(split(b.key.apply(a), kvHeads), turns)
    const seen = attention(q, k, split(b.value.apply(a), kvHeads), { causal: true })
    x = add(x, b.output.apply(reshape(permute(seen, [0, 2, 1, 3]), [batch, length, width])))
    const f = rmsNorm(x, b.feedNorm)
    x = add(x, b.down.apply(mul(silu(b.gate.apply(f)), b.up.apply(f))))
  }
  return embedding.apply(rmsNorm(x, norm))
}
