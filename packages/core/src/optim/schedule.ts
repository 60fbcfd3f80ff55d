import { fail } from "../errors.ts"

/** A learning rate as a pure function of the number of steps already made, 0, 1, 2, … */
export type Schedule = (step: number) => number

function check(op: string, values: Readonly<Record<string, number>>, rule: "rate" | "count" | "factor"): void {
  for (const [name, v] of Object.entries(values)) {
    if (rule === "count" ? !(Number.isInteger(v) && v >= 1) : !(v >= 0 && v < Infinity))
      fail("value", `schedule.${op}`, `${name} must be ${rule === "count" ? "a whole number ≥ 1" : "finite and ≥ 0"}, got ${v}`)
  }
}

/** The same rate at every step. */
export function constant(rate: number): Schedule {
  check("constant", { rate }, "rate")
  return () => rate
}

export interface Span {
  /** Rate at step 0. */
  readonly from: number
  /** Rate from step `steps` on. */
  readonly to?: number
  readonly steps: number
}
/** From one rate to another on a straight line, then constant. */
export function linear({ from, to = 0, steps }: Span): Schedule {
  check("linear", { from, to }, "rate")
  check("linear", { steps }, "count")
  return (step) => from + (to - from) * Math.min(step / steps, 1)
}
/** From one rate to another along half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5), then constant. */
export function cosine({ from, to = 0, steps }: Span): Schedule {
  check("cosine", { from, to }, "rate")
  check("cosine", { steps }, "count")
  return (step) => halfCosine(from, to, Math.min(step / steps, 1))
}
/** From one rate to another by (1 − step/steps) to a power, then constant. */
export function polynomial({ from, to = 0, steps, power = 1 }: Span & { readonly power?: number }): Schedule {
  check("polynomial", { from, to, power }, "rate")
  check("polynomial", { steps }, "count")
  return (step) => to + (from - to) * (1 - Math.min(step / steps, 1)) ** power
}
const halfCosine = (from: number, to: number, share: number): number => to + ((from - to) * (1 + Math.cos(Math.PI * share))) / 2

/** Multiplies the rate by `factor` after every `every` steps. */
export function stepwise({ rate, every, factor }: { readonly rate: number; readonly every: number; readonly factor: number }): Schedule {
  check("stepwise", { rate, factor }, "rate")
  check("stepwise", { every }, "count")
  return (step) => rate * factor ** Math.floor(step / every)
}
/** Multiplies the rate by `factor` at each of the steps `at`. */
export function multiStep({ rate, at, factor }: { readonly rate: number; readonly at: readonly number[]; readonly factor: number }): Schedule {
  check("multiStep", { rate, factor }, "rate")
  return (step) => rate * factor ** at.filter((s) => s <= step).length
}
/** Multiplies the rate by `factor` at every step. */
export function exponential({ rate, factor }: { readonly rate: number; readonly factor: number }): Schedule {
  check("exponential", { rate, factor }, "rate")
  return (step) => rate * factor ** step
}

export interface OneCycleOptions {
  /** The largest rate. */
  readonly peak: number
  /** Steps of the whole cycle; the last one, steps − 1, has the smallest rate, and keeps it. */
  readonly steps: number
  /** Share of the steps in which the rate rises; 0.3 unless given. */
  readonly rising?: number
  /** The first rate is peak/startDivisor; 25 unless given. */
  readonly startDivisor?: number
  /** The last rate is the first over this; 1e4 unless given. */
  readonly endDivisor?: number
  /** `cosine` unless given. */
  readonly shape?: "cosine" | "linear"
}
/** Up to a peak and down far below the start (Smith and Topin 2018, arXiv:1708.07120), as torch's OneCycleLR. */
export function oneCycle({ peak, steps, rising = 0.3, startDivisor = 25, endDivisor = 1e4, shape = "cosine" }: OneCycleOptions): Schedule {
  check("oneCycle", { peak }, "rate")
  check("oneCycle", { steps }, "count")
  if (!(rising > 0 && rising < 1)) fail("value", "schedule.oneCycle", `rising must be in 0 < rising < 1, got ${rising}`)
  if (!(startDivisor > 0 && endDivisor > 0)) fail("value", "schedule.oneCycle", `divisors must be > 0, got ${startDivisor} and ${endDivisor}`)
  const start = peak / startDivisor, end = start / endDivisor
  const top = rising * steps - 1, last = steps - 1
  const between = shape === "cosine" ? halfCosine : (from: number, to: number, share: number): number => from + (to - from) * share
  return (step) => (step <= top ? between(start, peak, step / top) : between(peak, end, Math.min((step - top) / (last - top), 1)))
}

/**
 * Half cosines of `steps`, steps·growth, steps·growth², … steps, each from `from` down to `to` (SGDR, Loshchilov and
 * Hutter 2017).
 */
export function cosineRestarts({ from, to = 0, steps, growth = 1 }: Span & { readonly growth?: number }): Schedule {
  check("cosineRestarts", { from, to }, "rate")
  check("cosineRestarts", { steps, growth }, "count")
  return (step) => {
    let begin = 0, length = steps
    if (growth === 1) begin = Math.floor(step / steps) * steps
    else for (; step >= begin + length; length *= growth) begin += length
    return halfCosine(from, to, (step - begin) / length)
  }
}

/** Puts `steps` steps in front of a schedule, in which the rate rises from 0 to the schedule's first on a straight line. */
export function warmup(schedule: Schedule, steps: number): Schedule {
  if (steps !== 0) check("warmup", { steps }, "count")
  return (step) => (step < steps ? (schedule(0) * step) / steps : schedule(step - steps))
}

/** Schedules one after the other: each but the last for its number of steps, counted from 0 in each. */
export function sequence(...parts: readonly (readonly [schedule: Schedule, steps?: number])[]): Schedule {
  if (parts.length === 0) fail("value", "schedule.sequence", "needs at least one schedule")
  parts.slice(0, -1).forEach(([, steps], i) => check("sequence", { [`steps of part ${i}`]: steps ?? NaN }, "count"))
  return (step) => {
    let begin = 0
    for (const [schedule, steps = Infinity] of parts.slice(0, -1)) {
      if (step < begin + steps) return schedule(step - begin)
      begin += steps
    }
    return parts.at(-1)![0](step - begin)
  }
}

export interface Warm { readonly rate: number; readonly warmup: number; readonly steps: number }
/** `steps` steps in all: a linear rise over the first `warmup`, then a line to 0 (transformers' `linear`). */
export const linearWithWarmup = ({ rate, warmup: rise, steps }: Warm): Schedule => warmup(linear({ from: rate, steps: rest("linearWithWarmup", rise, steps) }), rise)
/** `steps` steps in all: a linear rise over the first `warmup`, then half a cosine to 0 (transformers' `cosine`). */
export const cosineWithWarmup = ({ rate, warmup: rise, steps }: Warm): Schedule => warmup(cosine({ from: rate, steps: rest("cosineWithWarmup", rise, steps) }), rise)

function rest(op: string, rise: number, steps: number): number {
  if (!(Number.isInteger(rise) && rise >= 0 && rise < steps)) fail("value", `schedule.${op}`, `the warm-up must be a whole number of steps below ${steps}, got ${rise}`)
  return steps - rise
}
