import { fail, random, tensor } from "@thimble/core"
import { generateBatch, type Model, type SamplingOptions } from "@thimble/models"
import { ignored } from "../loss/loss.ts"
import { sha256 } from "@thimble/models"
import { type Batch, type Data } from "./data.ts"

export interface OnPolicyOptions extends Pick<SamplingOptions, "temperature" | "topK" | "topP"> {
  /** Tokens of each sequence that the student goes on from. */
  readonly prompt: number
  /** Share of the batches that the student writes itself, 0 … 1, or that share by the number of the batch; 1 unless given. */
  readonly share?: number | ((index: number) => number)
  /** Decides which batches, and what is drawn; 0 unless given. */
  readonly seed?: number
}

/**
 * Sequences that the student writes as it is now, from the beginnings of those of `data`, for the teacher to judge (GKD: Agarwal et al.,
 * 2023, arXiv:2306.13649, algorithm 1; λ is `share`). What the student wrote are labels, and positions of the prompt do not count; no gradient flows
 * through what is drawn. Batches that it does not write are those of `data`.
 */
export function onPolicy(data: Data, { prompt, share = 1, seed = 0, temperature = 1, ...sampling }: OnPolicyOptions): Data {
  if (!(Number.isInteger(prompt) && prompt >= 1)) fail("value", "onPolicy", `a prompt has a whole number of tokens ≥ 1, got ${prompt}`)
  if (data.length !== undefined && prompt >= data.length) fail("value", "onPolicy", `a prompt of ${prompt} tokens leaves nothing to write of ${data.length}`)
  const key = random.key(seed)
  return {
    ...(data.length !== undefined && { length: data.length }),
    id: async () => sha256(`on-policy ${JSON.stringify([prompt, typeof share === "number" ? share : String(share), seed, temperature, sampling])}`, await data.id()),
    async batch(index, now) {
      const drawn = random.uniform(random.foldIn(key, index), [2]), [chance, number] = await drawn.data() as unknown as [number, number]
      drawn.dispose()
      const given = await data.batch(index, now)
      if (chance >= (typeof share === "number" ? share : share(index))) return given
      const model = now?.model as Model | undefined
      if (typeof model?.step !== "function") return fail("value", "onPolicy", "only a language model can write", "the student must be one")
      return written(given, model, prompt, { temperature, ...sampling, seed: Math.floor(number * 2 ** 31) })
    },
  }
}

async function written(given: Batch, model: Model, prompt: number, sampling: SamplingOptions): Promise<Batch> {
  const [batch, length] = given.inputs.shape as [number, number], ids = (await given.inputs.tolist()) as number[][]
  for (const t of Object.values(given as unknown as Record<string, typeof given.inputs>)) t.dispose()
  const starts = ids.map((row) => row.slice(0, prompt))
  const texts = await generateBatch(model, starts, { ...sampling, maxTokens: length + 1 - prompt, stopTokens: [] }).done()
  const inputs = new Int32Array(batch * length), labels = new Int32Array(batch * length).fill(ignored)
  texts.forEach((text, row) => {
    const all = [...starts[row]!, ...text.ids]
    inputs.set(all.slice(0, length), row * length)
    for (let i = prompt - 1; i < Math.min(length, all.length - 1); i++) labels[row * length + i] = all[i + 1]!
  })
  return { inputs: tensor(inputs, { shape: [batch, length] }), labels: tensor(labels, { shape: [batch, length] }) }
}
