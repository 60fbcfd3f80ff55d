import type { Context } from "./part.ts"

/** Numbers between -1 and 1, the same in every run. */
export function noise(count: number, seed = 1): Float32Array {
  const out = new Float32Array(count)
  let state = (seed * 2654435761) >>> 0
  for (let i = 0; i < count; i++) out[i] = (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1
  return out
}

export const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!

/**
 * Milliseconds of one call of `work`, which queues kernels and frees what it made: as many calls as take `target`
 * milliseconds together, waited for at their end; the median of several samples.
 */
export const timed = ({ device, tiny }: Context, work: () => Promise<void>, options: Protocol = {}): Promise<number> =>
  timedUntil(async () => { await device.settled(); await device.gpu.queue.onSubmittedWorkDone() }, work, { tiny, ...options })

interface Protocol { readonly target?: number; readonly samples?: number; readonly tiny?: boolean }

/** The same, of calls whose end `wait` tells. */
export async function timedUntil(wait: () => Promise<unknown>, work: () => Promise<void>, { target = 60, samples = 5, tiny = false }: Protocol = {}): Promise<number> {
  const sample = async (calls: number): Promise<number> => {
    const start = performance.now()
    for (let i = 0; i < calls; i++) await work()
    await wait()
    return (performance.now() - start) / calls
  }
  await sample(1)
  if (tiny) return sample(1)
  // So often that what is compiled for programs that run on is there.
  await sample(4)
  const calls = Math.max(1, Math.min(1000, Math.round(target / (await sample(2)))))
  const times: number[] = []
  for (let i = 0; i < samples; i++) times.push(await sample(calls))
  return median(times)
}
