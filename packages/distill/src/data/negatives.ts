import { compile, fail, random, tensor, type Tensor } from "@thimble/core"
import { sha256, type Model } from "@thimble/models"
import { pooled } from "../loss/hidden.ts"
import { asNetwork, type Network } from "../network.ts"
import type { Data } from "./data.ts"

/** What a model makes of each example, before its head: rows of `width`, by the numbers of the examples. */
export interface Representations { readonly width: number; readonly rows: Float32Array }

/** Asks a teacher for its representations of all examples, once: what the head reads, the mean over positions. Data says which examples a batch has (`examples`). */
export async function representations(teacher: Model | Network, data: Data, count: number): Promise<Representations> {
  const network = asNetwork(teacher)
  if (!network.offers.includes("final")) fail("value", "representations", "the teacher does not show what its head reads")
  const see = compile((parameters: unknown, inputs: Tensor, padding: Tensor | undefined, mask: Tensor | undefined, labels: Tensor | undefined) =>
    pooled(network.see(parameters, inputs, { wanted: ["final"], ...(padding && { padding }) }).final!, { ...(mask && { mask }), ...(labels && { labels }) }))
  const seen = new Set<number>()
  let made: Representations | undefined
  try {
    for (let index = 0; seen.size < count; index++) {
      const batch = await data.batch(index), numbers = batch.numbers ?? fail("value", "representations", "the data does not say which examples a batch has", "examples() and sequences() do")
      const found = await see(network.parameters as never, batch.inputs, batch.padding as never, batch.mask as never, batch.labels as never), values = await found.data(), width = found.shape[1]!
      made ??= { width, rows: new Float32Array(count * width) }
      const before = seen.size
      for (const [i, n] of (await numbers.data()).entries()) {
        if (Number(n) >= count) fail("index", "representations", `the data has an example ${n}, ${count} were announced`)
        seen.add(Number(n))
        made.rows.set((values as Float32Array).subarray(i * width, (i + 1) * width), Number(n) * width)
      }
      for (const t of [found, ...Object.values(batch as unknown as Record<string, Tensor>)]) t.dispose()
      // A round leaves out what does not fill a batch, the next one something else; the same ones again and again never end.
      if (seen.size === before && index > 1000 + 100 * (data.batches ?? 1)) fail("value", "representations", `only ${seen.size} of ${count} examples ever come`)
    }
  } finally {
    see.dispose()
  }
  return made ?? fail("value", "representations", "there are no examples")
}

/**
 * Data that brings, with each batch, what the teacher makes of some other examples: negatives for `contrastive`, from a store of all (CRD: Tian et al., 2019,
 * arXiv:1910.10699). As the teacher does not change, its stored representations never get old, and are projected anew at each step; the
 * authors store projections of both models, and average them over time. Drawn evenly, of any class, and never one of the batch's own.
 */
export function withNegatives(data: Data, { width, rows }: Representations, { count, seed = 0 }: { readonly count: number; /** Decides which; 0 unless given. */ readonly seed?: number }): Data {
  const all = rows.length / width, key = random.key(seed)
  if (!(Number.isInteger(count) && count >= 1 && count < all)) fail("value", "withNegatives", `count must be a whole number ≥ 1 and below ${all}, got ${count}`)
  let id: Promise<string> | undefined
  return {
    ...(data.length !== undefined && { length: data.length }), ...(data.batches !== undefined && { batches: data.batches }),
    id: () => (id ??= (async () => sha256(`negatives ${JSON.stringify([count, seed, width, await data.id()])}`, rows))()),
    async batch(index, now) {
      const given = await data.batch(index, now), numbers = given.numbers ?? fail("value", "withNegatives", "the data does not say which examples a batch has", "examples() and sequences() do")
      const own = new Set(Array.from(await numbers.data(), Number))
      if (count + own.size > all) fail("value", "withNegatives", `${count} others than the ${own.size} of the batch are not there among ${all}`)
      using order = random.permutation(random.foldIn(key, index), all)
      const others = Array.from(await order.data(), Number).filter((n) => !own.has(n)).slice(0, count), chosen = new Float32Array(count * width)
      others.forEach((n, i) => chosen.set(rows.subarray(n * width, (n + 1) * width), i * width))
      return { ...given, negatives: tensor(chosen, { shape: [count, width] }) }
    },
  }
}
