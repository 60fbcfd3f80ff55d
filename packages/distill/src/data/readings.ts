import { fail, random, tensor, type Tensor } from "@thimble/core"
import type { Tokenizer } from "@thimble/formats"
import { ignored, type Readings } from "../loss/loss.ts"
import { sha256 } from "@thimble/models"
import { type Data } from "./data.ts"

export interface ReadingOptions {
  readonly student: Tokenizer
  readonly teacher: Tokenizer
  /** Pieces of text per batch. */
  readonly batch: number
  /** Positions of the student, and of the teacher (as many, unless given). What does not fit is cut off. */
  readonly length: number
  readonly teacherLength?: number
  /** Characters of a piece; four for each position unless given. */
  readonly characters?: number
  /** Tokens that both put before a piece; those that begin texts, or else end them, unless given. */
  readonly begin?: readonly [student: number, teacher: number]
  /** What belongs together: `text`, tokens between boundaries of both (unless given), or the k-th token of each, by `order`. */
  readonly spans?: "text" | "order"
  /** Decides which pieces; 0 unless given. */
  readonly seed?: number
}

/** Where, in the decoded text, each token ends; a token that ends within a character ends where the character began. */
export const tokenEnds = (tokenizer: Tokenizer, ids: readonly number[]): number[] => decoded(tokenizer, ids).ends
function decoded(tokenizer: Tokenizer, ids: readonly number[]): { readonly text: string; readonly ends: number[] } {
  const stream = tokenizer.stream({ special: true })
  let text = ""
  const ends = ids.map((id) => (text += stream.push(id)).length)
  return { text, ends }
}

/** Spans of a text as both tokenizers decode it; what fits of both has to be the same. */
function spansOf(student: Tokenizer, teacher: Tokenizer, [a, b]: readonly [readonly number[], readonly number[]]): TextSpan[] {
  const [own, other] = [decoded(student, a), decoded(teacher, b)], common = Math.min(own.text.length, other.text.length)
  if (own.text.slice(0, common) !== other.text.slice(0, common)) {
    const at = [...Array(common).keys()].find((i) => own.text[i] !== other.text[i])!, shown = (t: string): string => JSON.stringify(t.slice(at, at + 12))
    fail("value", "readings", `from character ${at} on, a piece of the text decodes to ${shown(own.text)} of the student's tokens, and to ${shown(other.text)} of the teacher's`, "tokenizers that change a text in different ways have no spans in common; spans: 'order' pairs tokens by their number")
  }
  return textSpans(own.ends, other.ends)
}

/** A span: tokens `from` … `to` (exclusive) of both readings. */
export interface TextSpan { readonly student: readonly [from: number, to: number]; readonly teacher: readonly [from: number, to: number] }
/** Spans between places at which tokens of both readings end. */
export function textSpans(student: readonly number[], teacher: readonly number[]): TextSpan[] {
  // Of tokens that end at one place the last ones are parts of a character; the first ends at a boundary.
  const boundaries = (ends: readonly number[]): Map<number, number> => {
    const found = new Map<number, number>()
    ends.forEach((end, i) => {
      if (end > 0 && !found.has(end)) found.set(end, i + 1)
    })
    return found
  }
  const own = boundaries(student), other = boundaries(teacher), spans: TextSpan[] = []
  let [s, t] = [0, 0]
  for (const [end, i] of own) {
    const j = other.get(end)
    if (j === undefined) continue
    spans.push({ student: [s, i], teacher: [t, j] })
    ;[s, t] = [i, j]
  }
  return spans
}

/** Pieces of a text at random places, as two models read them, for losses between vocabularies. */
export function readings(text: string, options: ReadingOptions): Data {
  const { student, teacher, batch, length, teacherLength = length, characters = 4 * length, spans = "text", seed = 0 } = options
  for (const [name, n] of Object.entries({ batch, length, teacherLength, characters })) if (!(Number.isInteger(n) && n >= 1)) fail("value", "readings", `${name} must be a whole number ≥ 1, got ${n}`)
  if (text.length <= characters) fail("value", "readings", `the text has ${text.length} characters, and pieces take ${characters}`)
  const first = (t: Tokenizer, whose: string): number => t.bos ?? t.eos ?? fail("value", "readings", `no token begins texts of the ${whose}`, "name one as options.begin")
  const begin = options.begin ?? [first(student, "student"), first(teacher, "teacher")], key = random.key(seed)
  let id: Promise<string> | undefined
  return {
    length,
    id: () => (id ??= sha256(`readings ${JSON.stringify([batch, length, teacherLength, characters, begin, spans, seed])}`, text)),
    async batch(index) {
      const places = random.randint(random.foldIn(key, index), [batch], { high: text.length - characters }), starts = await places.data()
      places.dispose()
      const rows = Array.from(starts, (start) => {
        // A surrogate pair is not cut in two.
        const piece = text.slice(start, start + characters).replace(/^[\uDC00-\uDFFF]|[\uD800-\uDBFF]$/g, "")
        return [student.encode(piece).slice(0, length), teacher.encode(piece).slice(0, teacherLength)] as const
      })
      return laid(rows, rows.map((row) => (spans === "order" ? inOrder(row[0].length, row[1].length) : spansOf(student, teacher, row))), [length, teacherLength], begin)
    },
  }
}
const inOrder = (a: number, b: number): TextSpan[] => Array.from({ length: Math.min(a, b) }, (_, i) => ({ student: [i, i + 1], teacher: [i, i + 1] }))

/** Rows of tokens and their spans as tensors. Token i is predicted at position i, for the first is what begins. */
function laid(rows: readonly (readonly [readonly number[], readonly number[]])[], spans: readonly (readonly TextSpan[])[], lengths: readonly [number, number], begin: readonly [number, number]): { inputs: Tensor; labels: Tensor; readings: Readings } {
  const batch = rows.length, most = Math.min(...lengths), n = batch * most
  const of = (side: 0 | 1) => {
    const length = lengths[side], inputs = new Int32Array(batch * length).fill(begin[side]), labels = new Int32Array(batch * length).fill(ignored), rest = new Int32Array(batch * length).fill(n)
    rows.forEach((row, r) => {
      inputs.set(row[side].slice(0, length - 1), r * length + 1)
      labels.set(row[side], r * length)
      spans[r]!.forEach((span, k) => {
        const [from, to] = side === 0 ? span.student : span.teacher
        for (let i = from + 1; i < to; i++) rest[r * length + i] = r * most + k
      })
    })
    const shape = [batch, length]
    return { inputs: tensor(inputs, { shape }), labels: tensor(labels, { shape }), rest: tensor(rest, { shape }) }
  }
  const first = new Int32Array(n), teacherFirst = new Int32Array(n), counts = new Float32Array(n)
  spans.forEach((row, r) => row.forEach(({ student, teacher }, k) => {
    const at = r * most + k
    first[at] = r * lengths[0] + student[0]
    teacherFirst[at] = r * lengths[1] + teacher[0]
    counts[at] = 1
  }))
  const [own, other] = [of(0), of(1)]
  return {
    inputs: own.inputs, labels: own.labels,
    readings: { inputs: other.inputs, labels: other.labels, first: tensor(first, { shape: [n] }), teacherFirst: tensor(teacherFirst, { shape: [n] }), counts: tensor(counts, { shape: [n] }), rest: own.rest, teacherRest: other.rest },
  }
}
