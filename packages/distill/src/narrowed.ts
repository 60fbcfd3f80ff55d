import { fail } from "@thimble/core"
import { channelPlaces, isLazy, keepChannels, type Block, type KeptChannels, type Model } from "@thimble/models"

export interface NarrowedOptions {
  /** Hidden features of each feed-forward part that stay; all unless given. */
  readonly hidden?: number
  /** Heads of keys and values of each block that stay, each with the heads of queries that share it; all unless given. */
  readonly heads?: number
  /** What ranks the channels of a block, the highest first; {@link channelNorms} unless given. */
  readonly score?: (model: Model, block: Block, name: "hidden" | "heads") => ArrayLike<number> | Promise<ArrayLike<number>>
}

/**
 * A student that starts as the strongest channels of a model's blocks, at the model's own depth: pruning as initialisation (structured pruning and then
 * distillation, as Minitron does it: Muralidharan et al., 2024, arXiv:2407.14679). It is a smaller model, which saves and loads like any other; what is not cut is
 * shared with the model. Scores that look at data, and columns that make up for those that go, are `shrink` of `@thimble/compress`.
 */
export async function narrowed(model: Model, { hidden, heads, score = channelNorms }: NarrowedOptions): Promise<Model> {
  if (hidden === undefined && heads === undefined) fail("value", "narrowed", "nothing is to go", "narrowed(model, { hidden: 256 })")
  const kept: Record<number, KeptChannels> = {}
  for (const block of model.blocks()) {
    const own: { -readonly [K in keyof KeptChannels]: KeptChannels[K] } = {}
    for (const { name, count } of block.links.channels) {
      const stay = name === "hidden" ? hidden : heads
      if (stay === undefined) continue
      if (!(Number.isInteger(stay) && stay >= 1 && stay <= count)) fail("value", "narrowed", `${name} of block ${block.layer} must be a whole number from 1 to ${count}, got ${stay}`)
      const scores = await score(model, block, name)
      if (scores.length !== count) fail("shape", "narrowed", `${scores.length} scores for ${count} ${name} of block ${block.layer}`)
      // Of equal ones the first stay.
      own[name] = Array.from({ length: count }, (_, i) => i).sort((a, b) => scores[b]! - scores[a]! || a - b).slice(0, stay).sort((a, b) => a - b)
    }
    kept[block.layer] = own
  }
  return keepChannels(model, kept)
}

/** Logarithms of the product of the norms of a channel's rows and columns, which stays when factors move from one to another. */
export async function channelNorms(model: Model, { links }: Block, name: "hidden" | "heads"): Promise<Float64Array> {
  const group = links.channels.find((c) => c.name === name) ?? fail("value", "channelNorms", `the model's blocks have no ${name}`)
  const scores = new Float64Array(group.count)
  for (const [parts, axis] of [[group.rows, 0], [group.columns, 1]] as const)
    for (const part of parts) {
      const unread = model.weights[part.path]!, weight = isLazy(unread) ? await unread.load() : unread, [, width] = weight.shape, dense = weight.dense(), values = await dense.data() as ArrayLike<number>
      if (!Object.values(weight.parts()).includes(dense)) dense.dispose()
      if (weight !== unread) for (const t of Object.values(weight.parts())) t.dispose()
      const squares = new Float64Array(group.count), across = values.length / width
      channelPlaces(part, axis === 0 ? across : width).forEach((place, i) => {
        const channel = Math.floor(i / part.size)
        for (let j = 0; j < (axis === 0 ? width : across); j++) squares[channel]! += values[axis === 0 ? place * width + j : j * width + place]! ** 2
      })
      squares.forEach((s, c) => (scores[c]! += 0.5 * Math.log(s)))
    }
  return scores
}
