// Steps that do not depend on each other, brought together: a device that starts each kernel for itself can then start
// them at once. Steps are only moved forward a little, so that values do not live much longer than they did.
import type { Step, Value } from "./program.ts"

/** Waves that a step may be brought forward at most, and the bytes of a value from which it is not: making it takes longer than starting to. */
const reach = 8, largeBytes = 2 ** 18

/** The steps in waves: `waves[i]` is the number of the wave of `steps[i]`. No step reads or overwrites what another one of its wave writes. */
export function inWaves(steps: readonly Step[], values: readonly Value[]): { steps: Step[]; waves: number[] } {
  // An output in a donated argument's memory is that argument, changed.
  const memoryOf = (value: number): number => {
    const v = values[value]!
    return v.kind === "output" ? (v.over ?? value) : value
  }
  /** The first wave in which a memory may be read, and overwritten. */
  const readable = new Map<number, number>(), writable = new Map<number, number>()
  let last = -1, closed = 0
  const placed = steps.map((step): number => {
    const [out, ...sources] = step.values.map(memoryOf) as [number, ...number[]]
    const made = values[step.values[0]!]!, far = (made.kind === "temporary" || made.kind === "output") && made.bytes >= largeBytes ? 0 : reach
    let wave = Math.max(closed, last - far, readable.get(out) ?? 0, writable.get(out) ?? 0)
    for (const s of sources) wave = Math.max(wave, readable.get(s) ?? 0)
    // Routines run on the host, between kernels.
    if (step.kind === "routine") wave = closed = last + 1
    for (const s of sources) writable.set(s, Math.max(writable.get(s) ?? 0, wave + 1))
    readable.set(out, wave + 1)
    if (step.kind === "routine") closed = wave + 1
    last = Math.max(last, wave)
    return wave
  })
  const order = steps.map((_, i) => i).sort((a, b) => placed[a]! - placed[b]! || a - b)
  return { steps: order.map((i) => steps[i]!), waves: order.map((i) => placed[i]!) }
}
