import { adamW, denseWeight, realize, tensorsOf } from "@thimble/core"
import { convert, masked, plan, prepare, prune, type Calibration } from "@thimble/compress"
import { distill, fit, forwardKL, labels, windows } from "@thimble/distill"
import { evaluate, klDivergence, type Model } from "@thimble/models"
import { timed } from "../distill/timed.ts"
import { planted } from "./planted.ts"
import type { Row } from "./rows.ts"
import { smallest, storedIn } from "./stored.ts"

/** A row of one seed. */
export interface Measured {
  readonly seed: number
  /** Bytes of the whole model, and what matrices of blocks are stored in for it. */
  readonly bytes: number
  readonly store: string
  readonly perplexity: number
  /** KL divergence from the original, nats per token, and its standard error over tokens. */
  readonly divergence: number
  readonly error: number
  readonly agreement: number
  /** Steps of training, where there is some. */
  readonly steps?: number
}

export interface Bench {
  readonly model: Model
  /** Calibration data of a seed. */
  calibration(seed: number): Promise<Calibration>
  /** Ids of the training text, and the token that begins texts. */
  readonly text: Int32Array
  readonly begin: number
  /** What is scored. */
  readonly heldOut: string
  readonly tokens: number
  /** Processor time to train, in seconds. */
  readonly seconds: number
  readonly signal: AbortSignal
}

/** A pruned model, its matrices in bf16. */
export async function prunedModel(row: Row, seed: number, { model, calibration, signal }: Bench): Promise<Model> {
  const method = row.method(seed), from = row.planted === true ? await planted(model) : model
  return method === undefined ? from : (await plan(from, prune({ default: method, sequence: "blocks" })).run(await calibration(seed), { signal }).result).model
}

export async function measured(row: Row, seed: number, bench: Bench): Promise<Measured> {
  const { model, heldOut, tokens, signal } = bench, left = await prunedModel(row, seed, bench)
  const { model: small, steps } = row.recovers === undefined ? { model: left } : await recovered(left, row.recovers, seed, bench)
  const { store, bytes } = row.store === undefined ? await smallest(small) : { store: row.store, bytes: 0 }, stored = row.store === undefined ? small : await storedIn(small, store)
  // Values as they are stored, with their zeros: products of many tokens are faster so.
  const plain = row.store === undefined || typeof row.store === "string" ? stored : await decoded(stored)
  const { results: [r] } = await evaluate(plain, { reference: model, metrics: [klDivergence(heldOut, { context: 256, tokens })], signal })
  const found = { seed, bytes: row.store === undefined ? bytes : stored.bytes, store: typeof store === "string" ? store : store.name, perplexity: r.perplexity, divergence: r.value, error: r.standardError, agreement: r.topAgreement, ...(steps !== undefined && { steps }) }
  dispose([left, small, stored, plain], model)
  return found
}

async function decoded(model: Model): Promise<Model> {
  const changed = Object.fromEntries(model.blocks().flatMap((b) => b.linears.map((p) => [p, denseWeight(model.weights[p]!.dense().cast("f32").mul(1))] as const)))
  await realize(...tensorsOf(changed))
  return model.with(changed)
}

/** Trains what is left of a pruned model, on text or towards what it was. */
async function recovered(left: Model, by: "labels" | "original", seed: number, { model: teacher, text, begin, seconds, signal }: Bench): Promise<{ readonly model: Model; readonly steps: number }> {
  const student = await prepare(left, { default: masked(), rules: [["embed_tokens", "keep"]] })
  const how = { data: windows(text, { batch: 4, length: 128, begin, seed }), optimizer: adamW({ rate: 3e-4, weightDecay: 0 }), clip: 1 }
  const { model, steps } = await timed({ seconds, rate: 3e-4, signal }, (time) =>
    by === "labels" ? fit({ model: student, loss: labels(), ...how, ...time }) : distill({ teacher, student, loss: forwardKL(), ...how, ...time }))
  const made = await convert(model), small = await storedIn(made, "bf16")
  return { model: small, steps }
}

export function dispose(models: readonly Model[], kept: Model): void {
  const own = new Set(tensorsOf(kept))
  for (const t of models.flatMap((m) => tensorsOf(m))) if (!own.has(t) && !t.disposed) t.dispose()
}
