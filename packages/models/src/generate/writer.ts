import type { Tokenizer } from "@thimble/formats"
import { stopFilter } from "./stop.ts"

/**
 * Why a text ended. `end`: by a token that ends texts; `stop`: by a stop string; `length`: it has as many tokens as were
 * asked for; `context`: the model has room for no more.
 */
export type FinishReason = "end" | "stop" | "length" | "context"

/** Makes text of tokens, as they come. */
export interface Writer {
  /** Tokens that the text goes on from: the space before its first word is part of it, unless it is the first of all. */
  follow(ids: readonly number[]): void
  /** The text that is certain with one more token; `last` says why no token follows, if so. */
  push(id: number, last: FinishReason | undefined): string
  readonly sofar: { readonly text: string; readonly ids: readonly number[]; readonly finish: FinishReason | undefined }
}

/** Enough of a prompt to know how what follows is spelled. */
const remembered = 64

/** Text is empty where there is no tokenizer. */
export function writer(op: string, tokenizer: Tokenizer | undefined, stops: readonly string[], ends: ReadonlySet<number>): Writer {
  const ids: number[] = [], decoder = tokenizer?.stream(), filter = stopFilter(op, stops)
  let text = "", finish: FinishReason | undefined
  return {
    get sofar() { return { text, ids, finish } },
    follow(before) {
      for (const id of before.slice(-remembered)) if (id < (tokenizer?.size ?? 0)) decoder!.push(id)
    },
    push(id, last) {
      ids.push(id)
      finish = ends.has(id) ? "end" : last
      let more = finish === "end" ? "" : filter.push(decoder?.push(id) ?? "")
      if (finish !== undefined && filter.found === undefined) more += filter.push(decoder?.end() ?? "")
      if (filter.found !== undefined) finish = "stop"
      else if (finish !== undefined) more += filter.end()
      text += more
      return more
    },
  }
}
