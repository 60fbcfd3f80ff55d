// G1–G6: methods that round a matrix so that its outputs change little.
import { ThimbleError } from "@thimble/core"
import type { MatrixShape } from "../quantizer.ts"
import { show } from "./bounds.ts"
import { calibrated, hessianOf, isDead, quadratic, showCalibrated, smallerCalibrated, type Calibrated } from "./calibrated.ts"
import type { LawOptions } from "./check.ts"
import { breach, differing, type Breach } from "./law.ts"
import { checkSubject, counterexampleOf, type Kit, type LawOf, type Subject, type SubjectReport } from "./subject.ts"
import { shuffled } from "./values.ts"

export type SolverLawName =
  | "lossIdentity" | "diagonalIsNearest" | "dampedIsNearest" | "onGridStays" | "hessianScale" | "rowOrder" | "blockSize" | "actOrder"
  | "deadColumns" | "singular" | "noWorseThanNearest" | "sameAgain"

/** What laws set; what is not set is as the solver likes it. */
export interface SolverSettings { readonly damping?: number; readonly block?: number; readonly order?: "given" | "activity" }
export interface SolverResult {
  /** ŵ [rows, columns]. */
  readonly values: ArrayLike<number>
  /** What it says that each row loses: (w − ŵ)·(H + damping · mean(diag H) · I)·(w − ŵ)ᵀ. `lossIdentity` asks for both. */
  readonly loss?: ArrayLike<number>
  readonly damping?: number
  /** What was done differently from what was asked. */
  readonly fallbacks?: readonly unknown[]
}
/** A method that rounds weights [rows, columns] for inputs with H = 2·Σ xᵀx. */
export interface Solver extends Subject<SolverLawName, Calibrated> {
  /** Rows are whole multiples of so many columns; 1 unless given. */
  readonly unit?: number
  solve(weights: Float64Array, shape: MatrixShape, hessian: Float64Array, settings: SolverSettings): SolverResult | Promise<SolverResult>
  /** The same grids without inputs: each value to the nearest. */
  nearest?(weights: Float64Array, shape: MatrixShape): ArrayLike<number>
}
export type SolverLaw = LawOf<Solver, Calibrated, SolverLawName>

const wide = ({ weights }: Calibrated): Float64Array => Float64Array.from(weights)
const most = (w: ArrayLike<number>): number => Array.from(w).reduce((m, v) => Math.max(m, Math.abs(v)), 0)
/** First place where two results are apart by more than sums in another order are. */
function apart(a: ArrayLike<number>, b: ArrayLike<number>, shape: MatrixShape, problem: (a: string, b: string) => string, slack = 1e-9): Breach | undefined {
  const limit = slack * most(a)
  for (let i = 0; i < a.length; i++) if (!(Math.abs(a[i]! - b[i]!) <= limit)) return breach(i, shape, problem(show(a[i]!), show(b[i]!)))
  return undefined
}
const identity = (n: number): Float64Array => Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0))
const meanDiagonal = (h: Float64Array, n: number): number => Array.from({ length: n }, (_, i) => h[i * n + i]! / n).reduce((a, b) => a + b, 0)
/** What rounding to nearest gives: as the solver says, or without anything that relates columns. */
const plain = async (s: Solver, w: Float64Array, shape: MatrixShape): Promise<ArrayLike<number>> => s.nearest?.(w, shape) ?? (await s.solve(w, shape, identity(shape[1]), {})).values

export const lossIdentity: SolverLaw = {
  name: "lossIdentity", letter: "G1",
  statement: "The loss it reports is (w − ŵ)·H·(w − ŵ)ᵀ for each row, with H damped as it says.",
  async broken(s, c) {
    const h = hessianOf(c), w = wide(c), [rows, n] = c.shape
    if (Array.from({ length: n }, (_, j) => j).some((j) => isDead(h, n, j))) return undefined
    const { values, loss, damping } = await s.solve(w, c.shape, h, {})
    if (loss === undefined || damping === undefined) return { problem: "it reports no loss, or no damping" }
    for (let r = 0; r < rows; r++) {
      const added = damping * meanDiagonal(h, n), want = quadratic(w.subarray(r * n, (r + 1) * n).map((v, j) => v - values[r * n + j]!), h, added)
      if (!(Math.abs(want - loss[r]!) <= 1e-8 * Math.abs(want) + 1e-13 * quadratic(w.subarray(r * n, (r + 1) * n), h, added))) return { problem: `row ${r} loses ${show(want)}, and it says ${show(loss[r]!)}` }
    }
    return undefined
  },
}

export const diagonalIsNearest: SolverLaw = {
  name: "diagonalIsNearest", letter: "G2",
  statement: "Where inputs are unrelated (H is diagonal) it rounds to nearest.",
  async broken(s, c) {
    const [, n] = c.shape, w = wide(c), h = identity(n)
    for (let j = 0; j < n; j++) h[j * (n + 1)] = 1 + ((j * 7 + c.pick) % 5)
    return apart(await plain(s, w, c.shape), (await s.solve(w, c.shape, h, {})).values, c.shape, (a, b) => `the nearest value is ${a}, and it gives ${b}`)
  },
}

export const dampedIsNearest: SolverLaw = {
  name: "dampedIsNearest", letter: "G2",
  statement: "With damping without end it rounds to nearest, either way at a tie, but for columns that no input reaches.",
  async broken(s, c) {
    const h = hessianOf(c), [, n] = c.shape, w = wide(c).map((v, i) => (isDead(h, n, i % n) ? 0 : v))
    const near = await plain(s, w, c.shape), { values } = await s.solve(w, c.shape, h, { damping: 1e14 }), limit = 1e-6 * most(w)
    const tie = (i: number): boolean => Math.abs(Math.abs(w[i]! - near[i]!) - Math.abs(w[i]! - values[i]!)) <= limit
    return apart(near, w.map((_, i) => (tie(i) ? near[i]! : values[i]!)), c.shape, (a, b) => `the nearest value is ${a}, and with damping of 10¹⁴ it gives ${b}`, 1e-6)
  },
}

export const onGridStays: SolverLaw = {
  name: "onGridStays", letter: "G3",
  statement: "Weights that rounding to nearest leaves as they are stay, whatever the inputs.",
  async broken(s, c) {
    const h = hessianOf(c), [, n] = c.shape
    let w = wide(c).map((v, i) => (isDead(h, n, i % n) ? 0 : v))
    const once = Float64Array.from(await plain(s, w, c.shape))
    w = Float64Array.from(await plain(s, once, c.shape))
    if (w.some((v, i) => v !== once[i])) return undefined
    return apart(w, (await s.solve(w, c.shape, h, {})).values, c.shape, (a, b) => `${a} is on its grid and becomes ${b}`)
  },
}

export const hessianScale: SolverLaw = {
  name: "hessianScale", letter: "G3",
  statement: "Four times H gives the same, bit for bit, where all columns have inputs: damping is relative.",
  async broken(s, c) {
    const h = hessianOf(c), w = wide(c)
    // What a column without inputs counts in the mean of the diagonal is no multiple of the others (the published code says 1).
    if (Array.from({ length: c.shape[1] }, (_, j) => j).some((j) => isDead(h, c.shape[1], j))) return undefined
    const a = (await s.solve(w, c.shape, h, {})).values, b = (await s.solve(w, c.shape, h.map((v) => 4 * v), {})).values
    const at = differing(a, b, c.shape)
    return at && { at, problem: `${show(a[at.i]!)} becomes ${show(b[at.i]!)} with 4·H` }
  },
}

export const rowOrder: SolverLaw = {
  name: "rowOrder", letter: "C3",
  statement: "Permuting rows permutes the result.",
  async broken(s, c) {
    const [rows, n] = c.shape, h = hessianOf(c), w = wide(c), order = shuffled(rows, c.pick), from = (i: number): number => order[Math.floor(i / n)]! * n + (i % n)
    const a = (await s.solve(w, c.shape, h, {})).values, b = (await s.solve(w.map((_, i) => w[from(i)]!), c.shape, h, {})).values
    const at = differing(w.map((_, i) => a[from(i)]!), b, c.shape)
    return at && { at, problem: `${show(a[from(at.i)]!)} becomes ${show(b[at.i]!)} when rows change places` }
  },
}

export const blockSize: SolverLaw = {
  name: "blockSize", letter: "G4",
  statement: "How many columns are corrected together does not matter.",
  async broken(s, c) {
    const h = hessianOf(c), w = wide(c), block = (s.unit ?? 1) * [1, 2, 3, 4, 8][c.pick % 5]!, a = (await s.solve(w, c.shape, h, {})).values
    return apart(a, (await s.solve(w, c.shape, h, { block })).values, c.shape, (x, y) => `${x} becomes ${y} in blocks of ${block}`)
  },
}

export const actOrder: SolverLaw = {
  name: "actOrder", letter: "G5",
  statement: "In the order of activity it gives what it gives in the given order for columns that were sorted beforehand.",
  async broken(s, c) {
    const [rows, n] = c.shape, h = hessianOf(c), w = wide(c)
    // A column without inputs counts as one with a diagonal of 1, and solvers may do with it what they like.
    if (Array.from({ length: n }, (_, j) => j).some((j) => isDead(h, n, j))) return undefined
    const order = Array.from({ length: n }, (_, j) => j).sort((a, b) => h[b * n + b]! - h[a * n + a]! || a - b)
    const a = (await s.solve(w, c.shape, h, { order: "activity" })).values
    const b = (await s.solve(Float64Array.from({ length: rows * n }, (_, i) => w[Math.floor(i / n) * n + order[i % n]!]!), c.shape, Float64Array.from({ length: n * n }, (_, i) => h[order[Math.floor(i / n)]! * n + order[i % n]!]!), { order: "given" })).values
    return apart(w.map((_, i) => a[Math.floor(i / n) * n + order[i % n]!]!), b, c.shape, (x, y) => `${x} in the order of activity, ${y} when columns are sorted beforehand`)
  },
}

export const deadColumns: SolverLaw = {
  name: "deadColumns", letter: "G",
  statement: "Weights that no input reaches do not change what becomes of the others.",
  async broken(s, c) {
    const [, n] = c.shape, dead = c.pick % n, inputs = c.inputs.map((v, i) => (i % n === dead ? 0 : v)), h = hessianOf({ ...c, inputs }), w = wide(c)
    const a = (await s.solve(w, c.shape, h, {})).values, b = (await s.solve(w.map((v, i) => (i % n === dead ? 3 * v + 1 : v)), c.shape, h, {})).values
    const at = differing(a, b, c.shape, (i) => i % n !== dead)
    return at && { at, problem: `${show(a[at.i]!)} becomes ${show(b[at.i]!)} when column ${dead} changes, which no input reaches` }
  },
}

export const singular: SolverLaw = {
  name: "singular", letter: "G",
  statement: "Few inputs, repeated ones or none give finite weights, and what had to be done about them is said; or else they are refused with an error that says why.",
  async broken(s, c) {
    const [, n] = c.shape, h = hessianOf(c)
    let result: SolverResult
    try {
      result = await s.solve(wide(c), c.shape, h, { damping: 0 })
    } catch (error) {
      if (error instanceof ThimbleError) return undefined
      throw error
    }
    const { values, fallbacks, damping } = result
    const wrong = Array.from(values).findIndex((v) => !Number.isFinite(v))
    if (wrong >= 0) return breach(wrong, c.shape, `a weight becomes ${values[wrong]}`)
    const needed = Array.from({ length: n }, (_, j) => j).some((j) => isDead(h, n, j)) || (damping ?? 0) > 0
    return needed && !(fallbacks && fallbacks.length > 0) ? { problem: `it was damped by ${damping}, or met columns without inputs, and says nothing of it` } : undefined
  },
}

export const noWorseThanNearest: SolverLaw = {
  name: "noWorseThanNearest", letter: "G6, G7",
  statement: "No row loses more than rounded to nearest: Σ (w − ŵ)·H·(w − ŵ)ᵀ.",
  async broken(s, c) {
    const [rows, n] = c.shape, h = hessianOf(c), w = wide(c), values = (await s.solve(w, c.shape, h, {})).values, near = await plain(s, w, c.shape)
    for (let r = 0; r < rows; r++) {
      const of = (v: ArrayLike<number>): number => quadratic(w.subarray(r * n, (r + 1) * n).map((x, j) => x - v[r * n + j]!), h, 0), [a, b] = [of(values), of(near)]
      if (!(a <= b * (1 + 1e-6) + 1e-12 * quadratic(w.subarray(r * n, (r + 1) * n), h, 0))) return { problem: `row ${r} loses ${show(a)}, and ${show(b)} rounded to nearest` }
    }
    return undefined
  },
}

export const sameAgain: SolverLaw = {
  name: "sameAgain", letter: "F1",
  statement: "The same weights and inputs give the same, bit for bit, and are left as they were.",
  async broken(s, c) {
    const h = hessianOf(c), w = wide(c), kept = [w.slice(), h.slice()] as const, a = (await s.solve(w, c.shape, h, {})).values
    const written = differing(w, kept[0], c.shape) ?? differing(h, kept[1], [c.shape[1], c.shape[1]])
    if (written) return { problem: "it writes to what it is given" }
    const at = differing(a, (await s.solve(w, c.shape, h, {})).values, c.shape)
    return at && { at, problem: "two runs differ" }
  },
}

/** Laws of solvers, by name. */
export const solverLaws: Readonly<Record<SolverLawName, SolverLaw>> = {
  lossIdentity, diagonalIsNearest, dampedIsNearest, onGridStays, hessianScale, rowOrder, blockSize, actOrder, deadColumns, singular, noWorseThanNearest, sameAgain,
}
const kit: Kit<Solver, Calibrated, SolverLawName> = { op: "checkSolver", laws: solverLaws, cases: (fc, s) => calibrated(fc, s), smaller: smallerCalibrated, show: showCalibrated }

/** Holds a solver to the laws it says it obeys, on matrices and inputs that are hard for it: {@link calibrated}. Throws with the smallest case of each broken law. */
export const checkSolver = (solver: Solver, options: LawOptions): Promise<SubjectReport<SolverLawName>> => checkSubject(kit, solver, options)
/** The smallest case in which a solver breaks a law, if one is found. */
export const solverCounterexample = (solver: Solver, law: SolverLaw, options: LawOptions): ReturnType<typeof counterexampleOf<Solver, Calibrated, SolverLawName>> => counterexampleOf(kit, solver, law, options)
