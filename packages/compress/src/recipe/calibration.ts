import { fail } from "@thimble/core"
import type { Tokenizer } from "@thimble/formats"
import { sha256 } from "@thimble/models"

export interface CalibrationOptions {
  /** Stretches of text; 128 unless given. */
  readonly samples?: number
  /** Tokens of each; 512 unless given. */
  readonly length?: number
  /** Chooses where in the text they begin; 0 unless given. */
  readonly seed?: number
}

/** Token ids that a model is calibrated with, all sequences of one length. */
export interface Calibration extends Iterable<Int32Array> {
  readonly sequences: readonly Int32Array[]
  readonly length: number
  /** Tokens of all sequences. */
  readonly tokens: number
  /** SHA-256 of the ids: results that were made with the same data have the same. */
  readonly hash: string
}

/** Text in one or several pieces. */
export type Prose = string | Iterable<string> | AsyncIterable<string>

/**
 * Cuts calibration sequences out of text, at places that the seed chooses; sequences do not overlap where the text is long
 * enough for that. All of the text is encoded, piece by piece.
 */
export async function calibration(tokenizer: Tokenizer, prose: Prose, { samples = 128, length = 512, seed = 0 }: CalibrationOptions = {}): Promise<Calibration> {
  for (const [name, n] of Object.entries({ samples, length })) if (!Number.isInteger(n) || n < 1) fail("value", "calibration", `${name} must be a whole number ≥ 1, got ${n}`)
  const ids: number[] = []
  for await (const piece of typeof prose === "string" ? [prose] : prose) for (const id of tokenizer.encode(piece)) ids.push(id)
  if (ids.length < length) fail("value", "calibration", `the text has ${ids.length} tokens, sequences have ${length}`, "give a longer text, or ask for shorter sequences")
  // Whole sequences, side by side from a first place on, shuffled; where there are too few, further ones overlap.
  const draw = drawer(seed), fit = Math.floor(ids.length / length), slack = ids.length - fit * length, from = Math.floor(draw() * (slack + 1))
  const starts = Array.from({ length: fit }, (_, i) => from + i * length)
  for (let i = fit - 1; i > 0; i--) {
    const j = Math.floor(draw() * (i + 1));
    [starts[i], starts[j]] = [starts[j]!, starts[i]!]
  }
  while (starts.length < samples) starts.push(Math.floor(draw() * (ids.length - length + 1)))
  return sequencesOf(starts.slice(0, samples).map((at) => Int32Array.from(ids.slice(at, at + length))))
}

/** Calibration data of ids that are there already: sequences of one length. */
export async function sequencesOf(sequences: readonly (Int32Array | readonly number[])[]): Promise<Calibration> {
  const all = sequences.map((s) => Int32Array.from(s)), length = all[0]?.length ?? 0
  if (length === 0) fail("value", "calibration", "there are no tokens")
  const odd = all.findIndex((s) => s.length !== length)
  if (odd >= 0) fail("shape", "calibration", `sequence ${odd} has ${all[odd]!.length} tokens, the first has ${length}`, "cut them to one length")
  const flat = new Int32Array(all.length * length)
  all.forEach((s, i) => flat.set(s, i * length))
  return { sequences: all, length, tokens: flat.length, hash: await sha256(flat), [Symbol.iterator]: () => all[Symbol.iterator]() }
}

/** Numbers in [0, 1) from a seed (Weyl sequence, mixed as in Steele et al., SplitMix, 2014, in 32 bits). */
function drawer(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x9e3779b9) | 0
    let z = state
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b)
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35)
    return ((z ^ (z >>> 16)) >>> 0) / 2 ** 32
  }
}
