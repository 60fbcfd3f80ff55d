import type { TextList } from "../texts.ts"
import { tokenizerLibrary } from "./library.ts"
import { normalizer, spaceSymbol, widthOf, type Normalization } from "./normalize.ts"
import { byteTokens, idsOfPieces, later, splitter, tokenizer, type Tokenizer } from "./tokenizer.ts"

/** What a piece is; numbered from 1 in files, in this order. */
export const pieceTypes = ["normal", "unknown", "control", "user", "unused", "byte"] as const
export type PieceType = (typeof pieceTypes)[number]

/** A vocabulary of sentencepiece, wherever it was read. */
export interface Pieces {
  readonly algorithm: "bpe" | "unigram"
  readonly names: TextList
  readonly scores: ArrayLike<number>
  readonly types: readonly PieceType[]
  readonly normalization: Omit<Normalization, "untouched">
  readonly byteFallback: boolean
  readonly bos?: number
  readonly eos?: number
  readonly unknown: number
  /** What decoding an unknown piece gives. */
  readonly unknownText: string
  readonly wrap: { readonly bos: boolean; readonly eos: boolean }
  readonly template?: string
}

/** Joins pieces by score: the pair whose union has the highest score first, the leftmost of equals. */
function unionRanks(names: readonly string[], scores: ArrayLike<number>, findable: (id: number) => boolean): Map<string, number> {
  const ids = names.map((_, id) => id).filter(findable)
  const known = new Set(ids.map((id) => names[id]!))
  const order = [...new Set(ids.map((id) => scores[id]!))].sort((a, b) => b - a)
  const rankOf = new Map(order.map((score, rank) => [score, rank]))
  const ranks = new Map<string, number>()
  for (const id of ids) {
    const characters = Array.from(names[id]!)
    for (let i = 1; i < characters.length; i++) {
      const left = characters.slice(0, i).join(""), right = characters.slice(i).join("")
      // Single characters are there from the start, known or not.
      if ((i === 1 || known.has(left)) && (i === characters.length - 1 || known.has(right))) ranks.set(JSON.stringify([left, right]), rankOf.get(scores[id]!)!)
    }
  }
  return ranks
}

/** Begins names that no text may contain: texts are well-formed. */
const hidden = "\ud800"

/** A user's piece as normalised text has it; files of models spell its spaces either way. */
const normalSpaces = (name: string): string => name.replaceAll(" ", spaceSymbol)

/** Splits a normalised text into pieces of text; not all of them need be in the vocabulary. */
async function pieceFinder({ algorithm, names: list, scores, types, unknown }: Pieces): Promise<(text: string) => string[]> {
  const words = later(() => types.map((_, id) => list.at(id)!))
  const findable = (id: number): boolean => types[id] === "normal" && words()[id] !== ""
  const { BPE, Unigram } = await tokenizerLibrary()
  let find: (word: string) => readonly string[]
  if (algorithm === "unigram") {
    const library = new Unigram({ unk_id: unknown, vocab: words().map((name, id) => [findable(id) ? name : hidden + name, scores[id]!]) })
    find = (word) => library.tokenize(word)
  } else {
    const library = later(() => {
      const made = new BPE({ vocab: {}, merges: [] })
      // The library numbers pairs one by one; here pairs of the same score are equal.
      made.bpe_ranks = unionRanks(words(), scores, findable)
      return made
    })
    find = (word) => library().bpe(word)
  }
  // Where no piece goes on beyond a space that follows something, words can be looked at one by one.
  const byWords = later(() => words().every((name, id) => !findable(id) || !/[^▁]▁/.test(name)))
  const split = later(() => splitter(words().filter((_, id) => types[id] === "user").map(normalSpaces)))
  return (text) => split()(text).flatMap(({ text: part, found }) => (found ? [part] : (byWords() ? (part.match(/▁*[^▁]+|▁+$/g) ?? []) : [part]).flatMap(find)))
}

/** A tokenizer over a vocabulary of sentencepiece: the same ids, and the same text back. */
export async function piecesTokenizer(pieces: Pieces): Promise<Tokenizer> {
  const { names, types, bos, eos, unknown, unknownText, wrap, template } = pieces
  const find = await pieceFinder(pieces)
  const idsOf = (...of: PieceType[]): Map<string, number> => {
    const ids = new Map<string, number>()
    for (let id = 0; id < types.length; id++) if (of.includes(types[id]!)) ids.set(types[id] === "user" ? normalSpaces(names.at(id)!) : names.at(id)!, id)
    return ids
  }
  const untouched = types.flatMap((type, id) => (type === "user" && names.at(id) !== "" ? [names.at(id)!] : []))
  const normalize = normalizer({ ...pieces.normalization, untouched })
  const known = later(() => idsOf("normal", "user")), special = idsOf("control"), byteIds = idsOf("byte")
  const bytes = pieces.byteFallback ? byteTokens((name) => byteIds.get(name)) : undefined
  const text = (part: string): number[] => idsOfPieces(find(normalize(part)), known(), bytes, unknown)
  const splitSpecial = splitter([...special.keys()])
  const stripped = pieces.normalization.prefix || pieces.normalization.trim
  return tokenizer({
    names, special, unknown,
    ...(bos !== undefined && { bos }), ...(eos !== undefined && { eos }), ...(template !== undefined && { template }),
    encode(whole, parse, wrapped) {
      const ids = parse ? splitSpecial(whole).flatMap(({ text: part, found }) => (found ? [special.get(part)!] : text(part))) : text(whole)
      return [...(wrapped && wrap.bos && bos !== undefined ? [bos] : []), ...ids, ...(wrapped && wrap.eos && eos !== undefined ? [eos] : [])]
    },
    decode(ids, spelled) {
      let out = "", run: number[] = [], prefixSeen = false
      for (const id of ids) {
        const type = types[id]!, name = names.at(id)!
        if (type === "byte") {
          run.push(parseInt(name.slice(3, 5), 16))
          continue
        }
        out += decodeBytes(run)
        run = []
        if (type === "control") out += spelled ? name : ""
        else if (type === "unknown") out += unknownText
        else {
          // The space that normalising put in front goes again.
          const atStart: boolean = stripped && out === "" && !prefixSeen && name.startsWith(spaceSymbol)
          prefixSeen ||= atStart && !pieces.normalization.trim
          out += (atStart ? name.slice(1) : name).replaceAll(spaceSymbol, " ")
        }
      }
      return out + decodeBytes(run)
    },
  })
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
/** UTF-8, in which each byte that belongs to no character is a U+FFFD of its own. */
function decodeBytes(bytes: readonly number[]): string {
  let out = ""
  for (let at = 0; at < bytes.length; ) {
    const length = widthOf(bytes[at]!)
    try {
      out += strict.decode(Uint8Array.from(bytes.slice(at, at + length)))
      at += length
    } catch {
      out += "\ufffd"
      at++
    }
  }
  return out
}
