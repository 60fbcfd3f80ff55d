import { fail } from "@thimble/core"
import type { Evaluated } from "./metric.ts"
import { sha256 } from "../sha256.ts"
import { hashOfTokenizer } from "./hash.ts"

/** A text, or the ids of its tokens. */
export type Text = string | readonly number[]

export interface TextOptions {
  /** Positions of a window, the token that begins it included. The model's context, but no more than 512, unless given. */
  readonly context?: number
  /** Tokens from one window to the next; where windows overlap, a token is scored in the first that has it. As many as fit beside `bos`, so that none overlap, unless given. */
  readonly stride?: number
  /** Whether every window begins with the token that begins texts, or which token it begins with. As the tokenizer wraps texts, unless given. */
  readonly bos?: boolean | number
  /** Only this many tokens of the text, from its start. */
  readonly tokens?: number
}

/** How a text was scored. Results of unlike protocols cannot be compared. */
export interface TextProtocol {
  /** SHA-256 of the text in UTF-8; of ids as 32-bit little-endian numbers where those were given. */
  readonly text: string
  /** SHA-256 of the tokenizer's vocabulary; null where ids were given. */
  readonly tokenizer: string | null
  /** Tokens of the text that were looked at, and how many of them were scored. */
  readonly tokens: number
  readonly scored: number
  readonly context: number
  readonly stride: number
  readonly bos: number | null
}

/** A stretch of text that is computed at once: the tokens the model sees, and those to be predicted, −1 where none is scored. */
export interface Window { readonly inputs: Int32Array; readonly targets: Int32Array; readonly scored: number }

export interface Prepared {
  readonly protocol: TextProtocol
  /** All of one length, `context` − 1. */
  readonly windows: readonly Window[]
  /** UTF-8 bytes of the text, if all of it is scored. */
  readonly bytes: number | undefined
}

/** Encodes a text for a model and cuts it into windows. */
export async function prepare(op: string, text: Text, options: TextOptions, model: Evaluated): Promise<Prepared> {
  const { vocabulary, context: longest } = model.config
  const whole = typeof text !== "string"
  const { tokenizer } = model
  if (!whole && tokenizer === undefined) fail("value", op, "the model has no tokenizer, and the text is no list of ids", "load one with the model, or encode the text")
  if (tokenizer !== undefined && tokenizer.size > vocabulary) fail("value", op, `the tokenizer has ${tokenizer.size} tokens, the model knows ${vocabulary}`, "is it another model's tokenizer?")
  const all = whole ? text : tokenizer!.encode(text)
  const ids = Int32Array.from(options.tokens === undefined ? all : all.slice(0, options.tokens))
  for (const id of ids) if (!(id >= 0 && id < vocabulary)) fail("index", op, `token ${id} is outside the vocabulary of ${vocabulary}`)
  const { tokens = ids.length, context = Math.min(longest, 512) } = options
  if (!Number.isInteger(tokens) || tokens < 1 || tokens > all.length) fail("value", op, `cannot take ${tokens} of the text's ${all.length} tokens`)
  if (!Number.isInteger(context) || context < 2 || context > longest) fail("value", op, `the context must be 2 … ${longest} positions, got ${context}`)
  const bos = bosOf(op, options.bos, model), body = context - (bos === null ? 0 : 1)
  const { stride = body } = options
  if (!Number.isInteger(stride) || stride < 1 || stride > body) fail("value", op, `the stride must be 1 … ${body} tokens, got ${stride}`, "a longer one would leave tokens out")
  const windows = cut(ids, context, stride, bos)
  const scored = windows.reduce((n, w) => n + w.scored, 0)
  if (scored === 0) fail("value", op, `a text of ${ids.length} tokens leaves nothing to predict`, "give a longer one, or a token to begin with (bos)")
  return {
    protocol: {
      text: await sha256(typeof text === "string" ? text : new Uint8Array(Int32Array.from(text).buffer)),
      tokenizer: whole ? null : await hashOfTokenizer(tokenizer!),
      tokens: ids.length, scored, context, stride, bos,
    },
    windows,
    bytes: !whole && scored === all.length ? new TextEncoder().encode(text).length : undefined,
  }
}

function bosOf(op: string, wanted: boolean | number | undefined, { tokenizer, config }: Evaluated): number | null {
  if (wanted === false) return null
  const bos = typeof wanted === "number" ? wanted : tokenizer?.bos
  if (wanted === undefined && (bos === undefined || tokenizer!.encode("a", { wrap: true })[0] !== bos)) return null
  if (bos === undefined) return fail("value", op, "no token is known to begin texts", "name it: { bos: 1 }")
  return Number.isInteger(bos) && bos >= 0 && bos < config.vocabulary ? bos : fail("index", op, `bos ${bos} is outside the vocabulary of ${config.vocabulary}`)
}

/**
 * Windows of [bos, tokens …]: each token is predicted once, in the first window that has it, from what stands before it
 * there; the last token of a window is not fed. Shorter windows are filled up behind their end, where nothing looks.
 */
export function cut(ids: Int32Array, context: number, stride: number, bos: number | null): Window[] {
  const lead = bos === null ? 0 : 1, body = context - lead, length = context - 1
  const windows: Window[] = []
  for (let start = 0, done = 0; done < ids.length; start += stride) {
    const end = Math.min(start + body, ids.length)
    const inputs = new Int32Array(length), targets = new Int32Array(length).fill(-1)
    if (bos !== null) inputs[0] = bos
    let scored = 0
    for (let i = start; i < end; i++) {
      const at = lead + i - start
      if (at < length) inputs[at] = ids[i]!
      if (i < done || at === 0) continue
      targets[at - 1] = ids[i]!
      scored++
    }
    done = end
    if (scored > 0) windows.push({ inputs, targets, scored })
  }
  return windows
}
