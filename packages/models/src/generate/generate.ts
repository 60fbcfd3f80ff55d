import { fail } from "@thimble/core"
import { bucket, type CacheType } from "../cache.ts"
import { draws } from "./draws.ts"
import { readPrompt, type Prompt, type PromptOptions } from "./prompt.ts"
import { distribution, pick, samplingOf, type Sampling, type SamplingOptions } from "./sampling.ts"
import { openSession, type Generator } from "./session.ts"
import { writer, type FinishReason, type Writer } from "./writer.ts"

export interface GenerateOptions extends SamplingOptions, PromptOptions {
  /** At most this many tokens; 256 unless given. Fewer where the model's context is full before: nothing is forgotten to make room. */
  readonly maxTokens?: number
  /** Strings that end the text, and are not part of it. */
  readonly stop?: string | readonly string[]
  /** Tokens that end the text, and are not part of it; those that the model says end texts, unless given. */
  readonly stopTokens?: readonly number[]
  /** What keys and values of earlier tokens are stored in; f32 unless given. */
  readonly cache?: CacheType
  /** Ends generating with an AbortError; what was held for it is released. */
  readonly signal?: AbortSignal
}

/** One more token of a text. */
export interface GeneratedToken {
  readonly id: number
  /** Of the token, in what it was drawn from. */
  readonly probability: number
  /** The text that is now certain: whole characters, and nothing that may belong to a stop string. Often empty. */
  readonly text: string
}
/** A text that was generated. */
export interface Completion {
  readonly text: string
  /** All tokens that were chosen, the one that ended it included. */
  readonly ids: readonly number[]
  /** Why it ended; undefined if nobody read on to its end. */
  readonly finish: FinishReason | undefined
  /** Tokens of the prompt. */
  readonly promptLength: number
}

/** Text on its way: pieces of it, token by token. Nothing is computed before it is read, and it can be read once. */
export interface Generation extends AsyncIterable<string> {
  /** Token by token, with the text each adds. */
  tokens(): AsyncIterable<GeneratedToken>
  /** Reads to the end. */
  done(): Promise<Completion>
  /** What there is so far. */
  readonly sofar: Completion
}
/** Several texts on their way. */
export interface BatchGeneration extends AsyncIterable<GeneratedToken & { readonly prompt: number }> {
  /** Reads to the end: a text for each prompt. */
  done(): Promise<readonly Completion[]>
  readonly sofar: readonly Completion[]
}

/**
 * Goes on with a prompt, token by token. Equal options and seeds give equal text; without options it is the most
 * probable token each time. Generating ends with the model's context: a prompt has to leave room for a token in it.
 */
export function generate(model: Generator, prompt: Prompt, options: GenerateOptions = {}): Generation {
  const batch = start("generate", model, [prompt], options)
  return {
    get sofar() { return batch.sofar[0]! },
    tokens: () => batch,
    async done() { return (await batch.done())[0]! },
    async *[Symbol.asyncIterator]() {
      for await (const { text } of batch) if (text !== "") yield text
    },
  }
}

/**
 * Goes on with several prompts side by side, of any lengths, which takes hardly longer than the longest of them. Text r
 * draws numbers of its own; the first is what {@link generate} gives.
 */
export function generateBatch(model: Generator, prompts: readonly Prompt[], options: GenerateOptions = {}): BatchGeneration {
  if (prompts.length === 0) fail("value", "generateBatch", "there are no prompts")
  return start("generateBatch", model, prompts, options)
}

function start(op: string, model: Generator, prompts: readonly Prompt[], options: GenerateOptions): BatchGeneration {
  const { maxTokens = 256, stop = [] } = options
  if (!Number.isInteger(maxTokens) || maxTokens < 1) fail("value", op, `maxTokens must be a whole number from 1, got ${maxTokens}`)
  samplingOf(op, options)
  const stops = typeof stop === "string" ? [stop] : stop
  const ends = new Set(options.stopTokens ?? model.config.eos ?? (model.tokenizer?.eos === undefined ? [] : [model.tokenizer.eos]))
  const writers = prompts.map(() => writer(op, model.tokenizer, stops, ends))
  const lengths = prompts.map(() => 0)
  const tokens = run(op, model, prompts, options, writers, lengths, maxTokens)
  const completions = (): Completion[] => writers.map(({ sofar }, i) => ({ ...sofar, promptLength: lengths[i]! }))
  return {
    get sofar() { return completions() },
    async done() {
      for await (const _ of tokens);
      return completions()
    },
    [Symbol.asyncIterator]: () => tokens,
  }
}

/** The loop: logits, a choice for each text that goes on, and all of these in one step. */
async function* run(op: string, model: Generator, prompts: readonly Prompt[], options: GenerateOptions, writers: readonly Writer[], lengths: number[], maxTokens: number): AsyncGenerator<GeneratedToken & { prompt: number }, void> {
  const { signal } = options, { context } = model.config
  signal?.throwIfAborted()
  const sampling = samplingOf(op, options)
  const all = await Promise.all(prompts.map(async (p) => [...(await readPrompt(op, model, p, options))]))
  all.forEach((ids, i) => {
    lengths[i] = ids.length
    writers[i]!.follow(ids)
  })
  const longest = Math.max(...lengths)
  if (longest >= context) fail("value", op, `the prompt has ${longest} tokens, and the model's context ${context}`, "shorten it: there has to be room for what follows")
  const begin = lengths.map((n) => longest - n)
  // The last token that is chosen is not computed with.
  const most = Math.min(maxTokens, context - longest), length = Math.min(context, Math.max(64, bucket(longest + most)))
  using session = openSession(model, { batch: prompts.length, length, begin, ...(options.cache && { dtype: options.cache }), ...(signal && { signal }) })
  const next = prompts.map((_, row) => draws(sampling.seed, row))
  const rows = await session.push(all.map((ids, i) => [...Array<number>(begin[i]!).fill(0), ...ids]))
  const choose = async (row: number, logits: Float32Array): Promise<Chosen> => {
    // Rows of the head that no token has are padding.
    const choice = distribution(logits.subarray(0, model.tokenizer?.size ?? Infinity), sampling, { ids: all[row]!, promptLength: lengths[row]! })
    const at = choice.ids.length === 1 ? 0 : pick(choice, await next[row]!())
    return { id: choice.ids[at]!, probability: choice.probabilities[at]! }
  }
  const last = (): number[] => all.map((ids) => ids.at(-1)!)
  let chosen: readonly (Chosen | undefined)[] = await Promise.all(rows.map((logits, row) => choose(row, logits)))
  let best: AsyncGenerator<Int32Array, void> | undefined
  try {
    for (let n = 1; ; n++) {
      for (const [row, write] of writers.entries()) {
        if (write.sofar.finish !== undefined) continue
        const { id, probability } = chosen[row]!
        all[row]!.push(id)
        const text = write.push(id, n < most ? undefined : n === maxTokens ? "length" : "context")
        yield { prompt: row, id, probability, text }
      }
      signal?.throwIfAborted()
      if (writers.every(({ sofar }) => sofar.finish !== undefined)) return
      // What is most probable needs no host.
      if (n === 1 && takesBest(sampling)) best = session.best(last(), most - 1)
      const ids = (await best?.next())?.value
      if (ids !== undefined) chosen = Array.from(ids, (id) => ({ id, probability: 1 }))
      else {
        const logits = await session.push(last().map((id) => [id]))
        chosen = await Promise.all(logits.map((own, row) => (writers[row]!.sofar.finish === undefined ? choose(row, own) : undefined)))
      }
    }
  } finally {
    await best?.return()
  }
}

interface Chosen { readonly id: number; readonly probability: number }
/** Whether it is the most probable token by the model's own logits. */
const takesBest = ({ temperature, topK, repetitionPenalty, processors }: Sampling): boolean => (temperature === 0 || topK === 1) && repetitionPenalty === 1 && processors.length === 0
