import { fail, random, tensor } from "@thimble/core"
import { generateBatch, type Model, type SamplingOptions } from "@thimble/models"
import { ignored } from "../loss/loss.ts"
import { sha256 } from "@thimble/models"
import { type Batch, type Data } from "./data.ts"

export interface OnPolicyOptions extends Pick<SamplingOptions, "temperature" | "topK" | "topP"> {
  /** Tokens of each sequence that the student goes on from, or all that come before its first label: the prompts of {@link tasks}. */
  readonly prompt: number | "before labels"
  /** Tokens that end a text; none unless given. What would come after them does not count. */
  readonly ends?: readonly number[]
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
export function onPolicy(data: Data, { prompt, ends = [], share = 1, seed = 0, temperature = 1, ...sampling }: OnPolicyOptions): Data {
  if (prompt !== "before labels" && !(Number.isInteger(prompt) && prompt >= 1)) fail("value", "onPolicy", `a prompt has a whole number of tokens ≥ 1, got ${prompt}`)
  if (data.length !== undefined && typeof prompt === "number" && prompt >= data.length) fail("value", "onPolicy", `a prompt of ${prompt} tokens leaves nothing to write of ${data.length}`)
  const key = random.key(seed)
  return {
    ...(data.length !== undefined && { length: data.length }),
    id: async () => sha256(`on-policy ${JSON.stringify([prompt, typeof share === "number" ? share : String(share), seed, temperature, sampling, ...(ends.length > 0 ? [ends] : [])])}`, await data.id()),
    async batch(index, now) {
      const drawn = random.uniform(random.foldIn(key, index), [2]), [chance, number] = await drawn.data() as unknown as [number, number]
      drawn.dispose()
      const given = await data.batch(index, now)
      if (chance >= (typeof share === "number" ? share : share(index))) return given
      const model = now?.model as Model | undefined
      if (typeof model?.step !== "function") return fail("value", "onPolicy", "only a language model can write", "the student must be one")
      return written(given, model, prompt, { temperature, ...sampling, stopTokens: ends, seed: Math.floor(number * 2 ** 31) })
    },
  }
}

async function written(given: Batch, model: Model, prompt: OnPolicyOptions["prompt"], sampling: SamplingOptions & { readonly stopTokens: readonly number[] }): Promise<Batch> {
  const [batch, length] = given.inputs.shape as [number, number], ids = (await given.inputs.tolist()) as number[][]
  const right = typeof prompt === "number" ? undefined : ((await given.labels?.tolist()) as number[][] | undefined) ?? fail("value", "onPolicy", "the data has no labels, before which prompts could end")
  for (const t of Object.values(given as unknown as Record<string, typeof given.inputs>)) t.dispose()
  const starts = ids.map((row, i) => {
    const first = right === undefined ? 0 : right[i]!.findIndex((label) => label !== ignored)
    if (first < 0) fail("value", "onPolicy", `sequence ${i} of the batch has no label, before which its prompt could end`)
    return row.slice(0, typeof prompt === "number" ? prompt : first + 1)
  })
  const texts = await generateBatch(model, starts, { ...sampling, maxTokens: length + 1 - Math.min(...starts.map((s) => s.length)) }).done()
  const inputs = new Int32Array(batch * length), labels = new Int32Array(batch * length).fill(ignored)
  texts.forEach((text, row) => {
    const start = starts[row]!, all = [...start, ...text.ids]
    inputs.set(all.slice(0, length), row * length)
    for (let i = start.length - 1; i < Math.min(length, all.length - 1); i++) labels[row * length + i] = all[i + 1]!
  })
  return { inputs: tensor(inputs, { shape: [batch, length] }), labels: tensor(labels, { shape: [batch, length] }) }
}
