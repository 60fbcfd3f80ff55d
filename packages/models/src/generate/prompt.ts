import { fail } from "@thimble/core"
import type { ChatMessage, Tokenizer } from "@thimble/formats"
import type { Config } from "../config.ts"

/** A text to go on with, the ids of its tokens, or a conversation to be answered. */
export type Prompt = string | readonly number[] | readonly ChatMessage[]

export interface PromptOptions {
  /** Tokens like `<|im_end|>` that are spelled out in a text stand for themselves; otherwise they are text. Conversations are always read so. */
  readonly special?: boolean
}

/** What is needed of a model to read prompts. */
export interface Reader { readonly config: Config; readonly tokenizer?: Tokenizer }

/** The ids of a prompt: texts as the tokenizer wraps them, conversations by its template. */
export async function readPrompt(op: string, model: Reader, prompt: Prompt, { special = false }: PromptOptions): Promise<readonly number[]> {
  const { vocabulary } = model.config
  const need = (): Tokenizer => model.tokenizer ?? fail("value", op, "the model has no tokenizer, and the prompt is no list of ids", "load one with the model, or encode the prompt")
  if (model.tokenizer !== undefined && model.tokenizer.size > vocabulary) fail("value", op, `the tokenizer has ${model.tokenizer.size} tokens, the model knows ${vocabulary}`, "is it another model's tokenizer?")
  const ids = typeof prompt === "string" ? opening(need(), prompt, special) : isIds(prompt) ? prompt : need().encode(await need().chat(prompt, { answer: true }), { special: true })
  if (ids.length === 0) fail("value", op, "the prompt is empty", "there has to be one token to go on from")
  for (const id of ids) if (!Number.isInteger(id) || id < 0 || id >= vocabulary) fail("index", op, `token ${id} of the prompt is outside the vocabulary of ${vocabulary}`)
  return ids
}

const isIds = (prompt: readonly number[] | readonly ChatMessage[]): prompt is readonly number[] => prompt.every((x) => typeof x === "number")

/** A text with what begins it, but without what ends it. */
function opening(tokenizer: Tokenizer, text: string, special: boolean): readonly number[] {
  const ids = tokenizer.encode(text, { wrap: true, special }), plain = tokenizer.encode(text, { special })
  const ended = tokenizer.eos !== undefined && ids.at(-1) === tokenizer.eos && plain.at(-1) !== tokenizer.eos
  return ended ? ids.slice(0, -1) : ids
}
