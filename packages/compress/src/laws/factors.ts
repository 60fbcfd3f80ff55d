// G7–G9: factors that move what is hard to round from inputs to weights, or back; rotations.
import type { MatrixShape } from "../quantizer.ts"
import { show } from "./bounds.ts"
import { calibrated, showCalibrated, smallerCalibrated, type Calibrated } from "./calibrated.ts"
import type { LawOptions } from "./check.ts"
import { breach } from "./law.ts"
import { plainer } from "./minimize.ts"
import { checkSubject, type Kit, type LawOf, type Subject, type SubjectReport } from "./subject.ts"
import { fill, ordinary } from "./values.ts"

export type FactorLawName = "usableFactors" | "sameFunction" | "searchNoWorse" | "balanced"
/** A method that multiplies columns of weights by factors, and divides inputs by them. */
export interface Factors extends Subject<FactorLawName, Calibrated> {
  readonly unit?: number
  factors(weights: Float64Array, shape: MatrixShape, inputs: Float64Array, tokens: number): ArrayLike<number>
  /** How it rounds weights; `searchNoWorse` asks for it. */
  round?(weights: Float64Array, shape: MatrixShape): ArrayLike<number>
}
export type FactorLaw = LawOf<Factors, Calibrated, FactorLawName>
const factorsOf = (f: Factors, c: Calibrated): ArrayLike<number> => f.factors(Float64Array.from(c.weights), c.shape, Float64Array.from(c.inputs), c.tokens)

export const usableFactors: FactorLaw = {
  name: "usableFactors", letter: "G8",
  statement: "Factors are finite and above zero, also for columns of zeros and without inputs.",
  broken(f, c) {
    const s = factorsOf(f, c), wrong = Array.from(s).findIndex((v) => !(v > 0 && v < Infinity))
    return s.length !== c.shape[1] ? { problem: `${s.length} factors for ${c.shape[1]} columns` } : wrong < 0 ? undefined : { problem: `the factor of column ${wrong} is ${s[wrong]}` }
  },
}

export const sameFunction: FactorLaw = {
  name: "sameFunction", letter: "G8",
  statement: "Before anything is rounded to few bits, outputs stay: bit for bit with factors that are powers of two, else within (K + 4)·2⁻²⁴·Σ|x||w|.",
  broken(f, c) {
    const [rows, n] = c.shape, s = factorsOf(f, c), r = Math.fround
    for (const exact of [false, true])
      for (let t = 0; t < c.tokens; t++)
        for (let row = 0; row < rows; row++) {
          let want = 0, got = 0, size = 0
          for (let j = 0; j < n; j++) {
            const w = c.weights[row * n + j]!, x = c.inputs[t * n + j]!, factor = exact ? 2 ** Math.round(Math.log2(s[j]!)) : s[j]!
            want = exact ? r(want + r(w * x)) : want + w * x
            got = exact ? r(got + r(r(w * factor) * r(x / factor))) : got + r(w * factor) * r(x / factor)
            size += Math.abs(w * x)
          }
          if (!(Math.abs(got - want) <= (exact ? 0 : (n + 4) * 2 ** -24 * size))) return { problem: `output ${row} of token ${t} is ${show(want)}, and ${show(got)} with ${exact ? "powers of two" : "factors"}` }
        }
    return undefined
  },
}

export const searchNoWorse: FactorLaw = {
  name: "searchNoWorse", letter: "G7",
  statement: "Outputs of the rounded weights change no more, in squares, than without factors: factors of one are among those tried.",
  broken(f, c) {
    if (f.round === undefined) return { problem: "it does not say how weights are rounded" }
    const [rows, n] = c.shape, s = factorsOf(f, c), w = Float64Array.from(c.weights)
    const error = (factor: (j: number) => number): number => {
      const back = f.round!(w.map((v, i) => v * factor(i % n)), c.shape)
      let sum = 0
      for (let t = 0; t < c.tokens; t++)
        for (let r = 0; r < rows; r++) {
          let change = 0
          for (let j = 0; j < n; j++) change += c.inputs[t * n + j]! * (w[r * n + j]! - back[r * n + j]! / factor(j))
          sum += change ** 2
        }
      return sum
    }
    const [a, b] = [error((j) => s[j]!), error(() => 1)]
    return a <= b * (1 + 1e-9) ? undefined : { problem: `squares of ${show(a)} with its factors, and ${show(b)} without any` }
  },
}

export const balanced: FactorLaw = {
  name: "balanced", letter: "G9",
  statement: "The largest input and the largest weight of a column are equal afterwards, where both have some.",
  broken(f, c) {
    const [, n] = c.shape, s = factorsOf(f, c), of = (a: Float32Array, j: number): number => a.reduce((m, v, i) => (i % n === j ? Math.max(m, Math.abs(v)) : m), 0)
    for (let j = 0; j < n; j++) {
      const w = of(c.weights, j), x = of(c.inputs, j), [a, b] = [x / s[j]!, w * s[j]!]
      if (w > 1e-4 && x > 1e-4 && !(Math.abs(a - b) <= 1e-9 * (a + b))) return { problem: `column ${j}: inputs reach ${show(a)} afterwards, weights ${show(b)}` }
    }
    return undefined
  },
}

export const factorLaws: Readonly<Record<FactorLawName, FactorLaw>> = { usableFactors, sameFunction, searchNoWorse, balanced }
const factorKit: Kit<Factors, Calibrated, FactorLawName> = { op: "checkFactors", laws: factorLaws, cases: (fc, s) => calibrated(fc, s), smaller: smallerCalibrated, show: showCalibrated }
/** Holds a method of factors (AWQ, SmoothQuant) to the laws it says it obeys. */
export const checkFactors = (method: Factors, options: LawOptions): Promise<SubjectReport<FactorLawName>> => checkSubject(factorKit, method, options)

export type RotationLawName = "undoes" | "keepsLengths" | "spreads"
/** Rows of so many features, and another number that a law needs. */
export interface RotationCase { readonly values: Float32Array; readonly size: number; readonly pick: number }
export interface Turning { apply(rows: Float64Array): void; undo(rows: Float64Array): void }
/** Orthogonal matrices of any size, from a seed. */
export interface Rotations extends Subject<RotationLawName, RotationCase> {
  /** Sizes that there are; any unless given. */
  readonly sizes?: readonly number[]
  of(size: number, seed: number): Turning
}
export type RotationLaw = LawOf<Rotations, RotationCase, RotationLawName>
const norm = (x: ArrayLike<number>): number => Math.sqrt(Array.from(x).reduce((s, v) => s + v * v, 0))
const turned = (q: Rotations, { values, size, pick }: RotationCase): Float64Array => {
  const out = Float64Array.from(values)
  q.of(size, pick).apply(out)
  return out
}

export const undoes: RotationLaw = {
  name: "undoes", letter: "G8", statement: "Undoing a rotation gives back what was rotated.",
  broken(q, c) {
    const there = turned(q, c), limit = 1e-12 * norm(c.values)
    q.of(c.size, c.pick).undo(there)
    const wrong = there.findIndex((v, i) => !(Math.abs(v - c.values[i]!) <= limit))
    return wrong < 0 ? undefined : breach(wrong, [1, c.size], `${show(c.values[wrong]!)} comes back as ${show(there[wrong]!)}`)
  },
}
export const keepsLengths: RotationLaw = {
  name: "keepsLengths", letter: "G8", statement: "Rows keep their length: ‖x·Q‖ = ‖x‖.",
  broken(q, c) {
    const [a, b] = [norm(c.values), norm(turned(q, c))]
    return Math.abs(a - b) <= 1e-12 * a ? undefined : { problem: `a length of ${show(a)} becomes ${show(b)}` }
  },
}
export const spreads: RotationLaw = {
  name: "spreads", letter: "G8", statement: "No feature exceeds ‖x‖₁/√n: what stands out is spread over all of them.",
  broken(q, c) {
    const limit = c.values.reduce((s, v) => s + Math.abs(v), 0) / Math.sqrt(c.size), there = turned(q, c), wrong = there.findIndex((v) => !(Math.abs(v) <= limit * (1 + 1e-12)))
    return wrong < 0 ? undefined : breach(wrong, [1, c.size], `feature ${wrong} becomes ${show(there[wrong]!)}, more than ${show(limit)}`)
  },
}
export const rotationLaws: Readonly<Record<RotationLawName, RotationLaw>> = { undoes, keepsLengths, spreads }
const sizes = [1, 2, 4, 3, 8, 12, 16, 6, 20, 28]
const rotationKit: Kit<Rotations, RotationCase, RotationLawName> = {
  op: "checkRotations", laws: rotationLaws,
  cases: (fc, { sizes: own = sizes }) => fc.tuple(fc.constantFrom(...ordinary), fc.integer(), fc.constantFrom(...own), fc.nat(1000)).map(([kind, seed, size, pick]) => ({ values: fill(kind, seed, [1, size]), size, pick })),
  smaller: [
    function* (c, { sizes: own = sizes }) { for (const size of own) if (size < c.size) yield { ...c, values: c.values.slice(0, size), size } },
    function* (c) { for (const p of [0, 1]) if (p < c.pick) yield { ...c, pick: p } },
    function* (c) { for (const p of plainer({ values: c.values, shape: [1, c.size], pick: 0 })) yield { ...c, values: p.values } },
  ],
  show: ({ values, size, pick }) => [`[${Array.from(values.subarray(0, 16), show).join(", ")}]${size > 16 ? " …" : ""}, seed ${pick}`],
}
/** Holds rotations to the laws they say they obey. */
export const checkRotations = (rotations: Rotations, options: LawOptions): Promise<SubjectReport<RotationLawName>> => checkSubject(rotationKit, rotations, options)
