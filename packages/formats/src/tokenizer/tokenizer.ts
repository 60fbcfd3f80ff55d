import { fail } from "@thimble/core"
import type { TextList } from "../texts.ts"
import { renderChat, type ChatMessage, type ChatOptions } from "./chat.ts"

export interface EncodeTextOptions {
  /** Tokens like `</s>` or `<|im_end|>` that are spelled out in the text stand for themselves; otherwise they are text like any other. */
  readonly special?: boolean
  /** Adds what the model expects around a text, such as the token that begins it. */
  readonly wrap?: boolean
}
export interface DecodeTextOptions {
  /** Spells special tokens out; otherwise they leave no trace. */
  readonly special?: boolean
}

/** Text that arrives token by token. */
export interface DecodeStream {
  /** What is now certain: never a part of a character, so often nothing. */
  push(id: number): string
  /** What is left when no token follows. */
  end(): string
}

/** Text to ids and back. Lone surrogates in texts become U+FFFD. */
export interface Tokenizer {
  /** Ids are whole numbers below it. */
  readonly size: number
  readonly bos?: number
  readonly eos?: number
  readonly unknown?: number
  /** Special tokens by how they are spelled. */
  readonly special: ReadonlyMap<string, number>
  /** The model's chat template (Jinja), if it came with one. */
  readonly template?: string
  encode(text: string, options?: EncodeTextOptions): number[]
  decode(ids: ArrayLike<number>, options?: DecodeTextOptions): string
  /** Decodes token by token; all that comes out, joined, is what `decode` gives for all ids. */
  stream(options?: DecodeTextOptions): DecodeStream
  /** The id of a token by its name in the vocabulary, and the name of an id. */
  idOf(token: string): number | undefined
  tokenOf(id: number): string
  /** The prompt for a conversation, to be encoded with `special: true`. The template says itself what begins a text. */
  chat(messages: readonly ChatMessage[], options?: ChatOptions): Promise<string>
}

/** What differs between kinds of tokenizers. */
export interface TokenizerParts extends Pick<Tokenizer, "bos" | "eos" | "unknown" | "special" | "template"> {
  readonly names: TextList
  encode(text: string, special: boolean, wrap: boolean): number[]
  /** Ids are known to be in the vocabulary. */
  decode(ids: readonly number[], special: boolean): string
}

/** A stream decodes this many tokens again with each new one, more only where they are no text by themselves. */
const longestWindow = 16

/** What is made when it is first asked for: who only reads texts needs none of what makes them. */
export function later<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined
  return () => (made ??= { value: make() }).value
}

/** @internal */
export function tokenizer({ names, encode, decode, ...parts }: TokenizerParts): Tokenizer {
  const size = names.length
  const byName = later(() => {
    const ids = new Map<string | undefined, number>()
    for (let id = 0; id < size; id++) ids.set(names.at(id), id)
    return ids
  })
  const check = (id: number): number => (Number.isInteger(id) && id >= 0 && id < size ? id : fail("value", "decode", `no token ${id}`, `ids go from 0 to ${size - 1}`))
  return {
    ...parts, size,
    encode: (text, { special = false, wrap = false } = {}) => encode(text.toWellFormed(), special, wrap),
    decode: (ids, { special = false } = {}) => decode(Array.from(ids, check), special),
    stream({ special = false } = {}) {
      let ids: number[] = [], given = ""
      const give = (text: string): string => {
        const more = text.slice(given.length)
        given += more
        return more
      }
      return {
        push(id) {
          ids.push(check(id))
          // A character of which bytes are missing decodes to U+FFFD, for the time being.
          const whole = decode(ids, special), more = give(whole.replace(/\ufffd+$/, ""))
          if (ids.length > longestWindow && given === whole) {
            // A token that is text by itself, from its first to its last byte, is all that the next ones have to see.
            const own = decode([id], special)
            if (own !== "" && !own.includes("\ufffd")) [ids, given] = [[id], own]
          }
          return more
        },
        end: () => give(decode(ids, special)),
      }
    },
    idOf: (token) => byName().get(token),
    tokenOf: (id) => names.at(check(id)) ?? "",
    async chat(messages, options = {}) {
      const template = options.template ?? parts.template ?? fail("value", "chat", "this tokenizer came without a chat template", "pass one as `template`")
      const spelled = (id: number | undefined): string => (id === undefined ? "" : names.at(id) ?? "")
      return renderChat(template, messages, options, { bos_token: spelled(parts.bos), eos_token: spelled(parts.eos) })
    },
  }
}

/** Ids of pieces of text; what the vocabulary lacks becomes bytes where it has those, or the unknown token, one for a run. */
export function idsOfPieces(pieces: readonly string[], known: ReadonlyMap<string, number>, bytes: readonly number[] | undefined, unknown: number | undefined): number[] {
  const ids: number[] = []
  let inUnknown = false
  for (const piece of pieces) {
    const id = known.get(piece)
    if (id !== undefined) ids.push(id)
    else if (bytes) for (const b of new TextEncoder().encode(piece)) ids.push(bytes[b]!)
    else if (unknown !== undefined && !inUnknown) ids.push(unknown)
    inUnknown = (id === undefined && !bytes) || id === unknown
  }
  return ids
}

/** Ids of the tokens `<0x00>` to `<0xFF>`, if all of them are there. */
export function byteTokens(idOf: (name: string) => number | undefined): readonly number[] | undefined {
  const ids = Array.from({ length: 256 }, (_, b) => idOf(`<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`))
  return ids.includes(undefined) ? undefined : (ids as number[])
}

/** Splits text at words that stand for themselves: the longest, where several begin. */
export function splitter(words: readonly string[]): (text: string) => { readonly text: string; readonly found: boolean }[] {
  const longestFirst = words.filter((w) => w !== "").sort((a, b) => b.length - a.length)
  if (longestFirst.length === 0) return (text) => [{ text, found: false }]
  const pattern = new RegExp(`(${longestFirst.map((w) => w.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|")})`)
  // Splitting by a group puts what it caught at odd places.
  return (text) => text.split(pattern).map((part, i) => ({ text: part, found: i % 2 === 1 })).filter((part) => part.text !== "")
}
