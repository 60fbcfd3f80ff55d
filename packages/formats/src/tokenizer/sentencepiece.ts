import { fail } from "@thimble/core"
import { Cursor } from "../cursor.ts"
import { openSource, type SourceLike, type SourceOptions } from "../source.ts"
import { readCharsmap, type Charsmap } from "./charsmap.ts"
import { piecesTokenizer, pieceTypes, type Pieces, type PieceType } from "./pieces.ts"
import { eachField } from "./protobuf.ts"
import type { Tokenizer } from "./tokenizer.ts"

/**
 * Opens a sentencepiece model (`.model`): unigram or BPE, with byte fallback and normalisation rules. Ids and text are
 * those of sentencepiece, control tokens being text unless asked for. `wrap` puts the beginning of a text in front.
 */
export const openSentencePiece = async (from: SourceLike, options: SourceOptions = {}): Promise<Tokenizer> => piecesTokenizer(await readSentencePiece(from, options))

/** What a sentencepiece model says: its pieces, and how texts are prepared. */
export async function readSentencePiece(from: SourceLike, options: SourceOptions = {}): Promise<Pieces> {
  await using source = await openSource(from, options)
  const refuse = (at: number, problem: string, hint?: string): never => fail("format", "sentencepiece", `${source.name}: ${problem} (byte ${at})`, hint)
  return parseModel(new Cursor(await source.read(0, source.bytes), source.bytes, refuse), source.bytes)
}

/** A ModelProto: pieces (1), trainer (2) and normalizer (3). Source: sentencepiece_model.proto. */
function parseModel(c: Cursor, end: number): Pieces {
  const names: string[] = [], scores: number[] = [], types: PieceType[] = []
  const trainer = { algorithm: 1, byteFallback: 0, unknown: 0, bos: 1, eos: 2, suffix: 0, unknownText: " \u2047 " }
  const rules = { prefix: 1, trim: 1, escape: 1 }
  let charsmap: Charsmap | undefined
  const numbered = <T extends object>(into: T, fields: Readonly<Record<number, keyof T>>) => (field: number, value: number): void => {
    const key = fields[field]
    if (key !== undefined) Object.assign(into, { [key]: value })
  }
  eachField(c, end, "the model", {
    bytes(field, stop) {
      if (field === 1) {
        const at = c.at, id = names.length, what = `piece ${id}`
        let name = "", score = 0, type = 1
        eachField(c, stop, what, {
          bytes: (f, to) => { if (f === 1) name = c.text(to - c.at, what) },
          float: (f, v) => { if (f === 2) score = v },
          number: (f, v) => { if (f === 3) type = v },
        })
        names.push(name)
        scores.push(Number.isNaN(score) ? c.fail(at, `${what} has no number for a score`) : score)
        types.push(pieceTypes[type - 1] ?? c.fail(at, `${what} is of the unknown type ${type}`))
      } else if (field === 2)
        eachField(c, stop, "the trainer's settings", {
          number: numbered(trainer, { 3: "algorithm", 24: "suffix", 35: "byteFallback", 40: "unknown", 41: "bos", 42: "eos" }),
          bytes: (f, to) => { if (f === 44) trainer.unknownText = c.text(to - c.at, "the text of unknown pieces") },
        })
      else if (field === 3)
        eachField(c, stop, "the normalizer's settings", {
          number: numbered(rules, { 3: "prefix", 4: "trim", 5: "escape" }),
          bytes: (f, to) => { if (f === 2 && to > c.at) charsmap = readCharsmap(c, to) },
        })
    },
  })
  const algorithm = trainer.algorithm === 1 ? "unigram" : trainer.algorithm === 2 ? "bpe" : c.fail(0, `pieces are found by the algorithm ${trainer.algorithm}; unigram (1) and BPE (2) can be read`)
  if (names.length === 0) c.fail(0, "has no pieces", "is it a sentencepiece model?")
  if (trainer.suffix || !rules.escape) c.fail(0, "spaces are not spelled as \u2581 in front of words, which is the one way that is read")
  if (types[trainer.unknown] !== "unknown") c.fail(0, `piece ${trainer.unknown} is to be the unknown one, but is ${types[trainer.unknown] ?? "not there"}`)
  const there = (id: number): number | undefined => (id >= 0 && id < names.length ? id : undefined)
  const bos = there(trainer.bos), eos = there(trainer.eos)
  return {
    algorithm, names, scores, types, unknown: trainer.unknown, unknownText: trainer.unknownText, byteFallback: trainer.byteFallback !== 0,
    normalization: { ...(charsmap && { charsmap }), prefix: rules.prefix !== 0, trim: rules.trim !== 0 },
    ...(bos !== undefined && { bos }), ...(eos !== undefined && { eos }), wrap: { bos: true, eos: false },
  }
}
