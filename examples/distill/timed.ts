import type { Schedule } from "@thimble/core"
import type { Run, Trained } from "@thimble/distill"

/** More steps than any time allows. */
const unbounded = 1e9

export interface TimedOptions {
  /** Time to train, compiling included. */
  readonly seconds: number
  /** Largest learning rate: it is reached after a twentieth of the time, and then falls to 0 as a cosine does. */
  readonly rate: number
  /** Milliseconds by which time is told; those of the wall unless given. */
  readonly clock?: () => number
  readonly signal?: AbortSignal
}

/** Processor time of this process, milliseconds: what others do on the machine does not count. With one thread it is the time of that and of V8's. */
export function processorTime(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** Trains for some time instead of some steps; the rate follows the clock. */
export async function timed<M>({ seconds, rate, clock = () => performance.now(), signal }: TimedOptions, start: (how: { readonly steps: number; readonly rate: Schedule }) => Run<M>): Promise<Trained<M>> {
  const begun = clock(), share = (): number => Math.min(1, (clock() - begun) / (1000 * seconds))
  const run = start({ steps: unbounded, rate: () => rate * (share() < 0.05 ? share() / 0.05 : 0.5 * (1 + Math.cos((Math.PI * (share() - 0.05)) / 0.95))) })
  for await (const _ of run) {
    signal?.throwIfAborted()
    if (share() >= 1) break
  }
  return run.finish()
}
