import { fail } from "@thimble/core"
import { leading } from "./leading.ts"

/** What a processor of logits may look at. */
export interface SoFar {
  /** All tokens: those of the prompt, then those generated. */
  readonly ids: readonly number[]
  /** How many of them are the prompt's. */
  readonly promptLength: number
}
/** Changes the logits of the next token in place; a token at −∞ is never chosen. */
export type LogitsProcessor = (logits: Float32Array, sofar: SoFar) => void

/**
 * How the next token is chosen. Steps, in this order (that of transformers): repetition penalty, processors, temperature,
 * top-k, top-p, min-p; then one token is drawn from what is left, its probabilities adding up to 1 again.
 */
export interface SamplingOptions {
  /** Divides the logits. 0, the default, takes the most probable token, the first of equal ones, and draws nothing. */
  readonly temperature?: number
  /** Keeps the k most probable tokens, of equal ones the first. All unless given. */
  readonly topK?: number
  /** Keeps the smallest set of most probable tokens whose probabilities add up to at least this (Holtzman et al. 2020, arXiv:1904.09751). 1, all, unless given. */
  readonly topP?: number
  /** Keeps tokens at least this share as probable as the most probable one (Nguyen et al. 2024, arXiv:2407.01082). 0, all, unless given. */
  readonly minP?: number
  /**
   * Divides positive logits, and multiplies negative ones, of tokens that were there before, in the prompt too (Keskar
   * et al. 2019, arXiv:1909.05858). 1, none, unless given.
   */
  readonly repetitionPenalty?: number
  /** Equal seeds give equal draws, on every device; 0 unless given. */
  readonly seed?: number | bigint
  /** Run in turn, on the logits of every token. */
  readonly processors?: readonly LogitsProcessor[]
}

/** Options that were checked, with their defaults. */
export type Sampling = Required<SamplingOptions>

/** Fills defaults in and refuses what is out of range. */
export function samplingOf(op: string, options: SamplingOptions): Sampling {
  const { temperature = 0, topK = Infinity, topP = 1, minP = 0, repetitionPenalty = 1, seed = 0, processors = [] } = options
  const need = (holds: boolean, what: string, value: unknown, hint?: string): void => { if (!holds) fail("value", op, `${what}, got ${String(value)}`, hint) }
  need(temperature >= 0 && temperature < Infinity, "temperature must be a number ≥ 0", temperature)
  need(topK === Infinity || (Number.isInteger(topK) && topK >= 1), "topK must be a whole number ≥ 1", topK, "leave it out to keep all tokens")
  need(topP > 0 && topP <= 1, "topP must be above 0 and at most 1", topP)
  need(minP >= 0 && minP <= 1, "minP must lie in 0 … 1", minP)
  need(repetitionPenalty > 0 && repetitionPenalty < Infinity, "repetitionPenalty must be a number above 0", repetitionPenalty)
  need(typeof seed === "bigint" || Number.isSafeInteger(seed), "the seed must be a whole number", seed)
  for (const p of processors) need(typeof p === "function", "processors must be functions", typeof p)
  return { temperature, topK, topP, minP, repetitionPenalty, seed, processors }
}

/** Tokens that may come next, ids ascending, with probabilities that add up to 1. */
export interface Distribution { readonly ids: Int32Array; readonly probabilities: Float64Array }

/** What the next token is drawn from, given a row of logits (which stays as it is) and the tokens before. */
export function nextToken(logits: Float32Array, options: SamplingOptions = {}, sofar: SoFar = { ids: [], promptLength: 0 }): Distribution {
  return distribution(logits, samplingOf("nextToken", options), sofar)
}

/** {@link nextToken} with checked options. */
export function distribution(logits: Float32Array, options: Sampling, sofar: SoFar): Distribution {
  const { temperature, topK, topP, minP } = options
  const row = processed(logits, options, sofar)
  const best = argmax(row)
  if (temperature === 0 || topK === 1) return { ids: Int32Array.of(best), probabilities: Float64Array.of(1) }
  const ids = new Int32Array(row.length)
  let count = 0
  for (let id = 0; id < row.length; id++) if (row[id]! > -Infinity) ids[count++] = id
  if (topK < count) count = leading(ids, count, row, () => 1, topK)
  // Probabilities of the ids that are left, by id, before they are made to add up to 1.
  const p = new Float64Array(row.length), most = row[best]!
  let total = 0
  for (let i = 0; i < count; i++) total += p[ids[i]!] = Math.exp((row[ids[i]!]! - most) / temperature)
  if (topP < 1) count = leading(ids, count, row, (id) => p[id]!, topP * total)
  if (minP > 0) count = keep(ids, count, (id) => p[id]! >= minP)
  const kept = ids.subarray(0, count), probabilities = new Float64Array(count)
  if (topK < Infinity || topP < 1) kept.sort()
  let left = 0
  for (let i = 0; i < count; i++) left += probabilities[i] = p[kept[i]!]!
  for (let i = 0; i < count; i++) probabilities[i]! /= left
  return { ids: kept, probabilities }
}

/** The place, among the ids, of the token in whose share of 0 … 1 a number lies. */
export function pick({ probabilities }: Distribution, at: number): number {
  let sum = 0
  for (let i = 0; i < probabilities.length; i++) if ((sum += probabilities[i]!) > at) return i
  // Rounding may leave the sum a little below 1.
  return probabilities.findLastIndex((p) => p > 0)
}

/** A copy of the logits after the repetition penalty and the processors. */
function processed(logits: Float32Array, { repetitionPenalty, processors }: Sampling, sofar: SoFar): Float32Array {
  if (repetitionPenalty === 1 && processors.length === 0) return logits
  const row = logits.slice()
  if (repetitionPenalty !== 1) for (const id of new Set(sofar.ids)) row[id] = row[id]! > 0 ? row[id]! / repetitionPenalty : row[id]! * repetitionPenalty
  for (const process of processors) process(row, sofar)
  return row
}

/** The first of the largest; refuses rows from which nothing can be chosen. */
function argmax(row: Float32Array): number {
  let best = 0, most = -Infinity
  for (let id = 0; id < row.length; id++) {
    const v = row[id]!
    // One comparison, which a NaN fails, too, for nearly all of them.
    if (v <= most) continue
    if (Number.isNaN(v) || v === Infinity) fail("numeric", "generate", `the logit of token ${id} is ${v}`, "a processor or the model's weights are at fault")
    best = id
    most = v
  }
  if (row.length === 0 || row[best] === -Infinity) fail("value", "generate", "no token is left to choose from", "the processors put all of them at −∞")
  return best
}

/** Moves the ids that pass to the front, in their order, and says how many. */
function keep(ids: Int32Array, count: number, pass: (id: number) => boolean): number {
  let kept = 0
  for (let i = 0; i < count; i++) if (pass(ids[i]!)) ids[kept++] = ids[i]!
  return kept
}
