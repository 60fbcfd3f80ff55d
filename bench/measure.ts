/** Something whose runs can be timed. */
export interface Contestant {
  readonly name: string
  /** Milliseconds that `runs` runs in a row take. */
  time(runs: number): Promise<number>
}

export interface MeasureOptions {
  /** Samples of each contestant. */
  repeats: number
  /** Least time of one sample, in ms; a run that takes longer is a sample of its own. */
  sampleMs: number
  /** Least time each contestant runs before the first sample, in ms: code must have tiered up. */
  warmUpMs: number
  /** Rest before each sample, in ms: thread pools spin for a while after a run and would take a core from the next. */
  restMs: number
  /** What the samples of a contestant come down to; their median unless given. */
  summary?(samples: readonly number[]): number
  /** Ends the measurement after the current sample; the figures so far are returned. */
  signal?: AbortSignal
  /** Called when a contestant fails; it is left out from there on. */
  failed(name: string, reason: string): void
}

/** Times all contestants in turn, round after round, and returns each one's ms per run. */
export async function measure(contestants: readonly Contestant[], options: MeasureOptions): Promise<Map<string, number>> {
  const { repeats, sampleMs, warmUpMs, restMs, summary = median, signal, failed } = options
  const racing = new Map<string, { contestant: Contestant; runs: number; samples: number[] }>()
  const attempt = async (contestant: Contestant, action: () => Promise<void>): Promise<void> => {
    try {
      await action()
    } catch (error) {
      if (signal?.aborted) return
      racing.delete(contestant.name)
      failed(contestant.name, error instanceof Error ? error.message : String(error))
    }
  }

  for (const contestant of contestants) {
    if (signal?.aborted) break
    await attempt(contestant, async () => {
      const perRun = await warmUp(contestant, warmUpMs)
      racing.set(contestant.name, { contestant, runs: Math.max(1, Math.ceil(sampleMs / perRun)), samples: [] })
    })
  }
  for (let round = 0; round < repeats; round++) {
    for (const { contestant, runs, samples } of [...racing.values()]) {
      if (signal?.aborted) break
      await attempt(contestant, async () => {
        await rest(restMs)
        samples.push((await contestant.time(runs)) / runs)
      })
    }
  }
  return new Map(
    [...racing].filter(([, { samples }]) => samples.length > 0).map(([name, { samples }]) => [name, summary(samples)]),
  )
}

/** Runs for at least `ms`, in bursts that double, and returns the last burst's ms per run. */
async function warmUp(contestant: Contestant, ms: number): Promise<number> {
  let spent = 0
  for (let runs = 1; ; runs *= 2) {
    const burst = await contestant.time(runs)
    spent += burst
    if (spent >= ms) return burst / runs
  }
}

export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

const rest = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
