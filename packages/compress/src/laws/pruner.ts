// I: which weights go.
import type { MatrixShape } from "../quantizer.ts"
import { show } from "./bounds.ts"
import { calibrated, hessianOf, isDead, quadratic, showCalibrated, smallerCalibrated, type Calibrated } from "./calibrated.ts"
import type { LawOptions } from "./check.ts"
import { breach, differing } from "./law.ts"
import { checkSubject, counterexampleOf, type Kit, type LawOf, type Subject, type SubjectReport } from "./subject.ts"

export type PrunerLawName =
  | "exactSparsity" | "leastGo" | "pruningStays" | "keptUnchanged" | "inputScale" | "inputColumn" | "equalInputs" | "prunerLoss" | "diagonalPruning" | "firstTiesGo"
/** What share of the weights goes, or how many of so many neighbours stay. */
export type PrunerSparsity = number | { readonly keep: number; readonly of: number }
export interface Pruned {
  /** 1 for weights that stay. */
  readonly kept: ArrayLike<number>
  /** What the weights are afterwards. */
  readonly values: ArrayLike<number>
  /** (w − ŵ)·(H + damping · mean(diag H) · I)·(w − ŵ)ᵀ of each row; `prunerLoss` asks for both. */
  readonly loss?: ArrayLike<number>
  readonly damping?: number
}
/** A method that removes weights [rows, columns] of a matrix that reads inputs [tokens, columns]. */
export interface Pruner extends Subject<PrunerLawName, Calibrated> {
  readonly unit?: number
  /** Sparsities that it is tried with; a half and 2:4 unless given. */
  readonly sparsities?: readonly PrunerSparsity[]
  /** What competes where a share goes: the weights of a `row` (unless given), or of the `matrix`. */
  readonly over?: "row" | "matrix"
  /** How many of n go for a share: ⌊share·n⌋ unless given. */
  gone?(share: number, n: number): number
  prune(weights: Float64Array, shape: MatrixShape, inputs: Float64Array, tokens: number, sparsity: PrunerSparsity): Pruned | Promise<Pruned>
  /** What weights are ranked by, least first to go, where that is known beforehand. */
  scores?(weights: Float64Array, shape: MatrixShape, inputs: Float64Array, tokens: number): ArrayLike<number>
}
export type PrunerLaw = LawOf<Pruner, Calibrated, PrunerLawName>
const sparsityOf = ({ sparsities = [0.5, { keep: 2, of: 4 }] }: Pruner, { pick }: Calibrated): PrunerSparsity => sparsities[pick % sparsities.length]!
const pruned = async (p: Pruner, c: Calibrated): Promise<Pruned> => p.prune(Float64Array.from(c.weights), c.shape, Float64Array.from(c.inputs), c.tokens, sparsityOf(p, c))
const scored = (p: Pruner, c: Calibrated): ArrayLike<number> | undefined => p.scores?.(Float64Array.from(c.weights), c.shape, Float64Array.from(c.inputs), c.tokens)
/** Runs of weights that compete, and how many of each go. */
function sets(p: Pruner, c: Calibrated): { readonly from: number; readonly to: number; readonly go: number }[] {
  const [rows, n] = c.shape, s = sparsityOf(p, c), gone = p.gone ?? ((share: number, k: number) => Math.floor(share * k))
  if (typeof s === "number") return (p.over ?? "row") === "row" ? Array.from({ length: rows }, (_, r) => ({ from: r * n, to: (r + 1) * n, go: gone(s, n) })) : [{ from: 0, to: rows * n, go: gone(s, rows * n) }]
  return Array.from({ length: rows * Math.ceil(n / s.of) }, (_, i) => {
    const per = Math.ceil(n / s.of), from = Math.floor(i / per) * n + (i % per) * s.of, length = Math.min(s.of, n - (i % per) * s.of)
    return { from, to: from + length, go: Math.max(0, length - s.keep) }
  })
}
const word = (s: PrunerSparsity): string => (typeof s === "number" ? `a share of ${s}` : `${s.keep}:${s.of}`)

export const exactSparsity: PrunerLaw = {
  name: "exactSparsity", letter: "I1", statement: "As many weights go as the sparsity says, in each set that competes: ⌊share·n⌋ of n, or all but `keep` of a run of neighbours.",
  async broken(p, c) {
    const { kept, values } = await pruned(p, c), wrong = Array.from(kept).findIndex((k, i) => k === 0 && values[i] !== 0)
    if (wrong >= 0) return breach(wrong, c.shape, `a weight that goes is ${show(values[wrong]!)}`)
    for (const { from, to, go } of sets(p, c)) {
      const gone = Array.from({ length: to - from }, (_, i) => kept[from + i]!).filter((k) => k === 0).length
      if (gone !== go) return breach(from, c.shape, `${gone} of ${to - from} go, not ${go}, for ${word(sparsityOf(p, c))}`)
    }
    return undefined
  },
}
export const leastGo: PrunerLaw = {
  name: "leastGo", letter: "I2", statement: "No weight that stays has a smaller score than one that goes, in each set that competes.",
  async broken(p, c) {
    const scores = scored(p, c), { kept } = await pruned(p, c)
    if (scores === undefined) return { problem: "it does not say its scores" }
    for (const { from, to } of sets(p, c)) {
      let least = Infinity, most = -Infinity
      for (let i = from; i < to; i++) if (kept[i]) least = Math.min(least, scores[i]!); else most = Math.max(most, scores[i]!)
      if (least < most) return breach(from, c.shape, `a weight with a score of ${show(most)} goes, and one with ${show(least)} stays`)
    }
    return undefined
  },
}
export const firstTiesGo: PrunerLaw = {
  name: "firstTiesGo", letter: "I1", statement: "Among equal scores the first go.",
  async broken(p, c) {
    const scores = scored(p, c), { kept } = await pruned(p, c)
    if (scores === undefined) return { problem: "it does not say its scores" }
    for (const { from, to } of sets(p, c))
      for (let i = from; i < to; i++)
        for (let j = i + 1; j < to; j++) if (scores[i] === scores[j] && kept[i] && !kept[j]) return breach(j, c.shape, `of two scores of ${show(scores[i]!)} the later goes`)
    return undefined
  },
}
export const pruningStays: PrunerLaw = {
  name: "pruningStays", letter: "I3", statement: "Pruning what is pruned changes nothing.",
  async broken(p, c) {
    const once = await pruned(p, c), weights = Float32Array.from(once.values), again = await pruned(p, { ...c, weights })
    const at = differing(weights, Float32Array.from(again.values), c.shape)
    return at && { at, problem: `${show(weights[at.i]!)} becomes ${show(again.values[at.i]!)} the second time` }
  },
}
export const keptUnchanged: PrunerLaw = {
  name: "keptUnchanged", letter: "I3", statement: "Weights that stay are unchanged, bit for bit.",
  async broken(p, c) {
    const { kept, values } = await pruned(p, c), at = differing(c.weights, values, c.shape, (i) => kept[i] === 1)
    return at && { at, problem: `${show(c.weights[at.i]!)} stays and becomes ${show(values[at.i]!)}` }
  },
}
export const inputScale: PrunerLaw = {
  name: "inputScale", letter: "I4", statement: "Inputs that are all four times as large leave which weights go as it is.",
  async broken(p, c) {
    const at = differing((await pruned(p, c)).kept, (await pruned(p, { ...c, inputs: c.inputs.map((v) => 4 * v) })).kept, c.shape)
    return at && { at, problem: "another weight goes when all inputs are four times as large" }
  },
}
export const inputColumn: PrunerLaw = {
  name: "inputColumn", letter: "I4", statement: "Four times the inputs of a column are four times the scores of its weights, and no other score changes.",
  broken(p, c) {
    const [, n] = c.shape, column = c.pick % n, a = scored(p, c), b = scored(p, { ...c, inputs: c.inputs.map((v, i) => (i % n === column ? 4 * v : v)) })
    if (a === undefined || b === undefined) return { problem: "it does not say its scores" }
    const wrong = Array.from(a).findIndex((v, i) => Math.abs(b[i]! - (i % n === column ? 4 : 1) * v) > 1e-12 * Math.abs(b[i]!))
    return wrong < 0 ? undefined : breach(wrong, c.shape, `a score of ${show(a[wrong]!)} becomes ${show(b[wrong]!)} when column ${column} of the inputs is four times as large`)
  },
}
export const equalInputs: PrunerLaw = {
  name: "equalInputs", letter: "I4", statement: "Where all columns of inputs have the same norm, the smallest magnitudes go.",
  async broken(p, c) {
    const [, n] = c.shape, inputs = Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0)), { kept } = await pruned(p, { ...c, inputs, tokens: n })
    for (const { from, to } of sets(p, c)) {
      let least = Infinity, most = 0
      for (let i = from; i < to; i++) if (kept[i]) least = Math.min(least, Math.abs(c.weights[i]!)); else most = Math.max(most, Math.abs(c.weights[i]!))
      if (least < most) return breach(from, c.shape, `${show(most)} goes, and ${show(least)} stays`)
    }
    return undefined
  },
}
export const prunerLoss: PrunerLaw = {
  name: "prunerLoss", letter: "I5", statement: "The loss it reports is (w − ŵ)·H·(w − ŵ)ᵀ for each row, with H damped as it says.",
  async broken(p, c) {
    const [rows, n] = c.shape, h = hessianOf(c), w = Float64Array.from(c.weights), { values, loss, damping } = await pruned(p, c)
    if (Array.from({ length: n }, (_, j) => j).some((j) => isDead(h, n, j))) return undefined
    if (loss === undefined || damping === undefined) return { problem: "it reports no loss, or no damping" }
    let mean = 0
    for (let j = 0; j < n; j++) mean += h[j * n + j]! / n
    for (let r = 0; r < rows; r++) {
      const row = w.subarray(r * n, (r + 1) * n), want = quadratic(row.map((v, j) => v - values[r * n + j]!), h, damping * mean)
      if (!(Math.abs(want - loss[r]!) <= 1e-8 * Math.abs(want) + 1e-13 * quadratic(row, h, damping * mean))) return { problem: `row ${r} loses ${show(want)}, and it says ${show(loss[r]!)}` }
    }
    return undefined
  },
}
export const diagonalPruning: PrunerLaw = {
  name: "diagonalPruning", letter: "I5", statement: "Where inputs are unrelated (H is diagonal), those go whose w²·H is least in their set, and what stays is unchanged.",
  async broken(p, c) {
    const [, n] = c.shape, factor = (j: number): number => 1 + ((j * 7 + c.pick) % 5), inputs = Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? factor(i % n) : 0))
    const { kept, values } = await pruned(p, { ...c, inputs, tokens: n }), wrong = Array.from(values).findIndex((v, i) => kept[i] === 1 && Math.abs(v - c.weights[i]!) > 1e-12 * Math.abs(v))
    if (wrong >= 0) return breach(wrong, c.shape, `${show(c.weights[wrong]!)} stays and becomes ${show(values[wrong]!)}`)
    // Equal but for damping: what is nearly equal may go either way.
    const cost = (i: number): number => (c.weights[i]! * factor(i % n)) ** 2
    for (const { from, to } of sets(p, c)) {
      let least = Infinity, most = 0
      for (let i = from; i < to; i++) if (kept[i]) least = Math.min(least, cost(i)); else most = Math.max(most, cost(i))
      if (least < most * 0.85) return breach(from, c.shape, `w²·H of ${show(most)} goes, and ${show(least)} stays`)
    }
    return undefined
  },
}

/** Laws of pruners, by name. */
export const prunerLaws: Readonly<Record<PrunerLawName, PrunerLaw>> = { exactSparsity, leastGo, firstTiesGo, pruningStays, keptUnchanged, inputScale, inputColumn, equalInputs, prunerLoss, diagonalPruning }
const kit: Kit<Pruner, Calibrated, PrunerLawName> = { op: "checkPruner", laws: prunerLaws, cases: (fc, p) => calibrated(fc, p), smaller: smallerCalibrated, show: showCalibrated }
/** Holds a pruner to the laws it says it obeys. Throws with the smallest case of each broken law. */
export const checkPruner = (pruner: Pruner, options: LawOptions): Promise<SubjectReport<PrunerLawName>> => checkSubject(kit, pruner, options)
/** The smallest case in which a pruner breaks a law, if one is found. */
export const prunerCounterexample = (pruner: Pruner, law: PrunerLaw, options: LawOptions): ReturnType<typeof counterexampleOf<Pruner, Calibrated, PrunerLawName>> => counterexampleOf(kit, pruner, law, options)
