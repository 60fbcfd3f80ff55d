import type { Schedule } from "@thimble/core"
import type { Run, Trained } from "@thimble/distill"
import { processorSeconds } from "./processor-time.ts"

/** More steps than any time allows. */
const unbounded = 1e9

export interface TimedOptions {
  /** Processor time to train, compiling included. */
  readonly seconds: number
  /** Largest learning rate: it is reached after a twentieth of the time, and then falls to 0 as a cosine does. */
  readonly rate: number
  readonly signal?: AbortSignal
}

/** Trains for some time instead of some steps; the rate follows the time. */
export async function timed<M>({ seconds, rate, signal }: TimedOptions, start: (how: { readonly steps: number; readonly rate: Schedule }) => Run<M>): Promise<Trained<M>> {
  const begun = processorSeconds(), share = (): number => Math.min(1, (processorSeconds() - begun) / seconds)
  const run = start({ steps: unbounded, rate: () => rate * (share() < 0.05 ? share() / 0.05 : 0.5 * (1 + Math.cos((Math.PI * (share() - 0.05)) / 0.95))) })
  for await (const _ of run) {
    signal?.throwIfAborted()
    if (share() >= 1) break
  }
  return run.finish()
}
