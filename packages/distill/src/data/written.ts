import { fail, random, tensor } from "@thimble/core"
import { generateBatch, type Model, type SamplingOptions } from "@thimble/models"
import { examples } from "./examples.ts"
import { sha256 } from "@thimble/models"
import { type Data } from "./data.ts"

export interface WrittenOptions extends Pick<SamplingOptions, "temperature" | "topK" | "topP"> {
  /** Decides what is drawn; 0 unless given. */
  readonly seed?: number
  /** How many sequences, of how many tokens each after the first. */
  readonly sequences: number
  readonly length: number
  /** Token, or tokens, that each begins with; the token that begins texts unless given. */
  readonly begin?: number | readonly number[]
  /** Sequences written side by side; 16 unless given. */
  readonly together?: number
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void
}

/** Sequences that a model writes, a row each: [begin, …, length tokens] (sequence-level distillation: Kim and Rush, 2016, arXiv:1606.07947, here with samples). */
export async function writtenBy(model: Model, { sequences, length, begin = model.config.bos ?? model.tokenizer?.bos, together = 16, temperature = 1, seed = 0, signal, onProgress, ...sampling }: WrittenOptions): Promise<Int32Array[]> {
  const start = typeof begin === "number" ? [begin] : [...(begin ?? fail("value", "writtenBy", "no token begins texts of this model", "name one as options.begin"))]
  const rows: Int32Array[] = []
  while (rows.length < sequences) {
    const n = Math.min(together, sequences - rows.length)
    const texts = await generateBatch(model, Array.from({ length: n }, () => start), { ...sampling, temperature, seed: seed + rows.length, maxTokens: length, stopTokens: [], ...(signal && { signal }) }).done()
    for (const { ids } of texts) rows.push(Int32Array.from([...start, ...ids]))
    onProgress?.({ done: rows.length, total: sequences })
  }
  return rows
}

/** Whole sequences of one length, each token but the first a label, in an order that changes from one round to the next. */
export function sequences(rows: readonly ArrayLike<number>[], options: { readonly batch: number; readonly seed?: number }): Data {
  const length = (rows[0]?.length ?? 0) - 1
  if (length < 1) fail("value", "sequences", "needs sequences of at least two tokens")
  const strange = rows.findIndex((r) => r.length !== length + 1)
  if (strange >= 0) fail("shape", "sequences", `sequence ${strange} has ${rows[strange]!.length} tokens, the first ${length + 1}`)
  const [inputs, labels] = [new Int32Array(rows.length * length), new Int32Array(rows.length * length)]
  rows.forEach((row, i) => {
    const all = Int32Array.from(row)
    inputs.set(all.subarray(0, length), i * length)
    labels.set(all.subarray(1), i * length)
  })
  return { ...examples({ inputs, shape: [length], labels, labelShape: [length] }, options), length }
}

export interface DataFreeOptions extends Pick<SamplingOptions, "temperature" | "topK" | "topP"> {
  /** Sequences per batch, and their positions. */
  readonly batch: number
  readonly length: number
  /** Token that each begins with; the token that begins texts unless given. */
  readonly begin?: number
  /** Decides what is drawn; 0 unless given. */
  readonly seed?: number
  /** Tells the teacher from others, for checkpoints: its name or a hash. */
  readonly id: string
}

/** Data of a teacher's own making, drawn from nothing but the token that begins texts, anew for every batch: distillation without data (after LLM-QAT: Liu et al., 2023, arXiv:2305.17888, whose
 * texts begin with a token drawn from the whole vocabulary; here what is drawn is what `temperature`, `topK` and `topP` say). */
export function dataFree(teacher: Model, { batch, length, begin = teacher.config.bos ?? teacher.tokenizer?.bos, seed = 0, id, ...sampling }: DataFreeOptions): Data {
  const start = begin ?? fail("value", "dataFree", "no token begins texts of this model", "name one as options.begin")
  const key = random.key(seed)
  return {
    length,
    id: () => sha256(`data-free ${JSON.stringify([batch, length, start, seed, id, sampling])}`),
    async batch(index) {
      const drawn = random.uniform(random.foldIn(key, index), [1]), own = Math.floor((await drawn.data() as Float32Array)[0]! * 2 ** 31)
      drawn.dispose()
      const rows = await writtenBy(teacher, { ...sampling, sequences: batch, together: batch, length, begin: start, seed: own })
      const [inputs, labels] = [Int32Array.from(rows.flatMap((r) => [...r.subarray(0, length)])), Int32Array.from(rows.flatMap((r) => [...r.subarray(1)]))]
      return { inputs: tensor(inputs, { shape: [batch, length] }), labels: tensor(labels, { shape: [batch, length] }) }
    },
  }
}
