// G10 and G11: what is counted, summed and observed over calibration inputs.
import { show } from "./bounds.ts"
import type { LawOptions } from "./check.ts"
import { plainer, smaller } from "./minimize.ts"
import { checkSubject, type Kit, type LawOf, type Subject, type SubjectReport } from "./subject.ts"
import { fill, kinds, ordinary, shuffled } from "./values.ts"

/** Values in one batch, and a choice: an order, a place to cut. */
export interface ObserverCase { readonly values: Float32Array; readonly pick: number }
export interface Observed { readonly low: number; readonly high: number; readonly scale: number; readonly zero: number }
export interface Observing { add(values: Float32Array): void; range(): Observed; readonly seen: number }
export type ObserverLawName = "batchOrder" | "countsAll" | "withinData" | "growsWithData" | "likeWhole" | "noWorseThanWhole"
/** A way to find the range of activations. */
export interface Observers extends Subject<ObserverLawName, ObserverCase> {
  make(): Observing
  /** The least and the largest code. */
  readonly codes: readonly [low: number, high: number]
  /** What looks at the least and the largest value only; what some laws compare with. */
  whole?(): Observing
}
export type ObserverLaw = LawOf<Observers, ObserverCase, ObserverLawName>
const after = (o: Observing, ...batches: readonly Float32Array[]): Observed => {
  for (const b of batches) o.add(b)
  return o.range()
}
const same = (a: Observed, b: Observed): boolean => a.low === b.low && a.high === b.high && a.scale === b.scale && a.zero === b.zero
const spelled = (r: Observed): string => `${show(r.low)} … ${show(r.high)}`

export const batchOrder: ObserverLaw = {
  name: "batchOrder", letter: "G10", statement: "Neither the order of values and batches nor where batches are cut matters.",
  broken(o, { values, pick }) {
    const order = shuffled(values.length, pick), cut = pick % (values.length + 1), mixed = values.map((_, i) => values[order[i]!]!)
    const [a, b] = [after(o.make(), values), after(o.make(), mixed.subarray(cut), mixed.subarray(0, cut))]
    return same(a, b) ? undefined : { problem: `the range is ${spelled(a)}, and ${spelled(b)} in another order, cut at ${cut}` }
  },
}
export const countsAll: ObserverLaw = {
  name: "countsAll", letter: "G10", statement: "All values are counted, and a batch of none changes nothing.",
  broken(o, { values }) {
    const made = o.make(), range = after(made, values), with_ = o.make()
    if (made.seen !== values.length) return { problem: `${values.length} values count as ${made.seen}` }
    return same(range, after(with_, new Float32Array(0), values, new Float32Array(0))) ? undefined : { problem: "a batch of none changes the range" }
  },
}
export const withinData: ObserverLaw = {
  name: "withinData", letter: "G11", statement: "Ends lie within what was seen (or the mirror image of it), zero between them, and the scale is above zero.",
  broken(o, { values }) {
    const { low, high, scale } = after(o.make(), values), most = values.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
    return low >= -most && low <= 0 && high >= 0 && high <= most && scale > 0 ? undefined : { problem: `${show(low)} … ${show(high)}, steps of ${show(scale)}, for values up to ${show(most)}` }
  },
}
export const growsWithData: ObserverLaw = {
  name: "growsWithData", letter: "G11", statement: "Values farther from zero give no smaller range.",
  broken(o, { values, pick }) {
    const more = values.map((v, i) => ((i + pick) % 3 === 0 ? v * (1 + (pick % 4) / 2) : v))
    if (!more.every(Number.isFinite)) return undefined
    const [a, b] = [after(o.make(), values), after(o.make(), more)]
    return b.low <= a.low && b.high >= a.high ? undefined : { problem: `${spelled(a)} shrinks to ${spelled(b)} when some values grow` }
  },
}
export const likeWhole: ObserverLaw = {
  name: "likeWhole", letter: "G11", statement: "It gives the least and the largest value, as percentile(100) does.",
  broken(o, { values }) {
    if (o.whole === undefined) return { problem: "it does not say what to compare with" }
    const [a, b] = [after(o.make(), values), after(o.whole(), values)]
    return same(a, b) ? undefined : { problem: `${spelled(a)}, and the whole is ${spelled(b)}` }
  },
}
export const noWorseThanWhole: ObserverLaw = {
  name: "noWorseThanWhole", letter: "G11", statement: "Σ (x − x̂)² is at most what it is from the least to the largest value, for values that lie where bins end.",
  broken(o, { values }) {
    if (o.whole === undefined) return { problem: "it does not say what to compare with" }
    if (values.some((v) => Math.abs(v) > 2 ** 126)) return undefined
    // A histogram knows a value to a bin: multiples of a 64th of the largest are exactly known to those of 64 bins and more.
    const most = values.reduce((m, v) => Math.max(m, Math.abs(v)), 0), top = most === 0 ? 0 : 2 ** Math.ceil(Math.log2(most)), x = values.map((v) => (top === 0 ? 0 : (Math.round((v / top) * 64) * top) / 64))
    const error = ({ scale, zero }: Observed): number => x.reduce((s, v) => s + (v - (Math.min(o.codes[1], Math.max(o.codes[0], Math.round(v / scale) + zero)) - zero) * scale) ** 2, 0)
    const [a, b] = [error(after(o.make(), x)), error(after(o.whole(), x))]
    return a <= b * (1 + 1e-9) + 1e-12 * most * most ? undefined : { problem: `squares of ${show(a)}, and ${show(b)} for the whole range` }
  },
}
export const observerLaws: Readonly<Record<ObserverLawName, ObserverLaw>> = { batchOrder, countsAll, withinData, growsWithData, likeWhole, noWorseThanWhole }
/** Fewer values, and plainer ones. */
const lessValues = [
  function* (c: ObserverCase): Generator<ObserverCase> {
    for (const s of smaller({ values: c.values, shape: [1, c.values.length], pick: c.pick }, 1)) if (s.values.length > 0) yield { values: s.values, pick: c.pick }
  },
  function* (c: ObserverCase): Generator<ObserverCase> {
    for (const p of [0, 1, 2]) if (p < c.pick) yield { ...c, pick: p }
    for (const p of plainer({ values: c.values, shape: [1, c.values.length], pick: c.pick })) yield { values: p.values, pick: c.pick }
  },
] as const
const all = Object.keys(kinds) as (keyof typeof kinds)[]
const observerKit: Kit<Observers, ObserverCase, ObserverLawName> = {
  op: "checkObserver", laws: observerLaws, smaller: lessValues,
  cases: (fc) => fc.tuple(fc.constantFrom(...all), fc.integer(), fc.integer({ min: 1, max: 300 }), fc.nat(2 ** 16)).map(([kind, seed, n, pick]) => ({ values: fill(kind, seed, [1, n]), pick })),
  show: ({ values, pick }) => [`[${Array.from(values.subarray(0, 16), show).join(", ")}${values.length > 16 ? ", …" : ""}], pick ${pick}`],
}
/** Holds an observer of activations to the laws it says it obeys. */
export const checkObserver = (observers: Observers, options: LawOptions): Promise<SubjectReport<ObserverLawName>> => checkSubject(observerKit, observers, options)

/** Inputs [tokens, columns] and a choice. */
export interface SumsCase { readonly values: Float32Array; readonly columns: number; readonly pick: number }
export type SumsLawName = "tokenOrder" | "countsTokens"
/** What is summed over calibration inputs. */
export interface Sums extends Subject<SumsLawName, SumsCase> {
  make(columns: number): { add(inputs: Float32Array, tokens: number): void; result(): ArrayLike<number>; readonly tokens: number }
}
export type SumsLaw = LawOf<Sums, SumsCase, SumsLawName>
export const tokenOrder: SumsLaw = {
  name: "tokenOrder", letter: "G10", statement: "Neither the order of tokens nor where batches are cut matters, but for rounding and one factor for all.",
  broken(s, { values, columns, pick }) {
    const tokens = values.length / columns, order = shuffled(tokens, pick), mixed = values.map((_, i) => values[order[Math.floor(i / columns)]! * columns + (i % columns)]!), cut = pick % (tokens + 1)
    const a = s.make(columns), b = s.make(columns)
    a.add(values, tokens)
    for (const [from, to] of [[0, cut], [cut, tokens]] as const) if (to > from) b.add(mixed.subarray(from * columns, to * columns), to - from)
    const [x, y] = [a.result(), b.result()], most = (v: ArrayLike<number>): number => Array.from(v).reduce((m, e) => Math.max(m, Math.abs(e)), 0), [p, q] = [most(x) || 1, most(y) || 1]
    const wrong = Array.from(x).findIndex((v, i) => !(Math.abs(v / p - y[i]! / q) <= 1e-9))
    return wrong < 0 ? undefined : { problem: `number ${wrong} is ${show(x[wrong]!)}, and ${show(y[wrong]!)} in another order, cut at token ${cut}` }
  },
}
export const countsTokens: SumsLaw = {
  name: "countsTokens", letter: "G10", statement: "All tokens are counted, once; tokens that are left out as padding count for nothing.",
  broken(s, { values, columns }) {
    const tokens = values.length / columns, sums = s.make(columns)
    sums.add(values, tokens)
    return sums.tokens === tokens ? undefined : { problem: `${tokens} tokens count as ${sums.tokens}` }
  },
}
export const sumsLaws: Readonly<Record<SumsLawName, SumsLaw>> = { tokenOrder, countsTokens }
const sumsKit: Kit<Sums, SumsCase, SumsLawName> = {
  op: "checkSums", laws: sumsLaws,
  cases: (fc) => fc.tuple(fc.constantFrom(...ordinary), fc.integer(), fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 40 }), fc.nat(2 ** 16)).map(([kind, seed, columns, tokens, pick]) => ({ values: fill(kind, seed, [tokens, columns]), columns, pick })),
  smaller: [function* (c) {
    for (const s of smaller({ values: c.values, shape: [c.values.length / c.columns, c.columns], pick: c.pick }, 1)) if (s.values.length > 0) yield { values: s.values, columns: s.shape[1], pick: c.pick }
    for (const p of plainer({ values: c.values, shape: [c.values.length / c.columns, c.columns], pick: c.pick })) yield { ...c, values: p.values }
  }],
  show: ({ values, columns, pick }) => [`[${Array.from(values.subarray(0, 16), show).join(", ")}${values.length > 16 ? ", …" : ""}] in rows of ${columns}, pick ${pick}`],
}
/** Holds what sums over calibration inputs to the laws it says it obeys. */
export const checkSums = (sums: Sums, options: LawOptions): Promise<SubjectReport<SumsLawName>> => checkSubject(sumsKit, sums, options)
