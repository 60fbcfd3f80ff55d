// I6–I8: what is left out altogether, what stays zero while others train, and how matrices with zeros are stored.
import type { MatrixShape } from "../quantizer.ts"
import { matrices } from "./arbitrary.ts"
import { show } from "./bounds.ts"
import type { LawOptions } from "./check.ts"
import { breach, type Case } from "./law.ts"
import { plainer, smaller } from "./minimize.ts"
import { checkSubject, type Kit, type LawOf, type Subject, type SubjectReport } from "./subject.ts"
import { ordinary } from "./values.ts"

export type StructureLawName = "compactIsMasked" | "compactCounts" | "zerosStay" | "sparseReturns" | "sparseBytes"
/** What leaves something out of a matrix [rows, columns]; each law asks for one of its functions. */
export interface Structure extends Subject<StructureLawName, Case> {
  readonly unit?: number
  /** A function of weights with parts left out, and with zeros instead of them; how many numbers are left, and how many it was said there would be. */
  compact?(weights: Float32Array, shape: MatrixShape, pick: number): Promise<{ readonly masked: ArrayLike<number>; readonly compacted: ArrayLike<number>; readonly left: number; readonly said: number }>
  /** Prunes weights, and trains what is left: which ones stay (1), and what all are before and after. */
  train?(weights: Float32Array, shape: MatrixShape): Promise<{ readonly kept: ArrayLike<number>; readonly before: ArrayLike<number>; readonly after: ArrayLike<number> }>
  /** Stores a matrix with zeros in it, and reads it; the bytes, and what it says of them. */
  store?(weights: Float32Array, shape: MatrixShape): { readonly wanted: ArrayLike<number>; readonly back: ArrayLike<number>; readonly bytes: number; readonly said: number }
}
export type StructureLaw = LawOf<Structure, Case, StructureLawName>
const unsaid = { problem: "it does not have what this law asks for" } as const
const size = (x: ArrayLike<number>): number => Array.from(x).reduce((m, v) => Math.max(m, Math.abs(v)), 0)

export const compactIsMasked: StructureLaw = {
  name: "compactIsMasked", letter: "I6", statement: "Without what is left out a function gives what it gives with zeros there, but for the order of sums.",
  async broken(s, { values, shape, pick }) {
    if (s.compact === undefined) return unsaid
    const { masked, compacted } = await s.compact(values, shape, pick), limit = 1e-5 * size(masked), wrong = Array.from(masked).findIndex((v, i) => !(Math.abs(v - compacted[i]!) <= limit))
    return masked.length !== compacted.length ? { problem: `${masked.length} outputs become ${compacted.length}` } : wrong < 0 ? undefined : { problem: `output ${wrong} is ${show(masked[wrong]!)} with zeros, and ${show(compacted[wrong]!)} without` }
  },
}
export const compactCounts: StructureLaw = {
  name: "compactCounts", letter: "I6", statement: "As many numbers are left as was said beforehand.",
  async broken(s, { values, shape, pick }) {
    if (s.compact === undefined) return unsaid
    const { left, said } = await s.compact(values, shape, pick)
    return left === said ? undefined : { problem: `${left} numbers are left, and ${said} were said` }
  },
}
export const zerosStay: StructureLaw = {
  name: "zerosStay", letter: "I7", statement: "What was pruned is zero after training, too, and something of the rest has moved.",
  async broken(s, { values, shape }) {
    if (s.train === undefined) return unsaid
    const { kept, before, after } = await s.train(values, shape), wrong = Array.from(kept).findIndex((k, i) => k === 0 && (before[i] !== 0 || after[i] !== 0))
    if (wrong >= 0) return breach(wrong, shape, `what was pruned is ${show(before[wrong]!)} before training, and ${show(after[wrong]!)} after it`)
    return Array.from(before).every((v, i) => v === after[i]) ? { problem: "nothing has moved" } : undefined
  },
}
export const sparseReturns: StructureLaw = {
  name: "sparseReturns", letter: "I8", statement: "A matrix with zeros is read as it was stored: zeros exactly, others as their type has them.",
  broken(s, { values, shape }) {
    if (s.store === undefined) return unsaid
    const { wanted, back } = s.store(values, shape), wrong = Array.from(wanted).findIndex((v, i) => v !== back[i])
    return wrong < 0 && wanted.length === back.length ? undefined : breach(wrong, shape, `${show(wanted[wrong]!)} is read as ${back[wrong]}`)
  },
}
export const sparseBytes: StructureLaw = {
  name: "sparseBytes", letter: "I8", statement: "A matrix with zeros takes as many bytes as the formula says.",
  broken(s, { values, shape }) {
    if (s.store === undefined) return unsaid
    const { bytes, said } = s.store(values, shape)
    return bytes === said ? undefined : { problem: `it takes ${bytes} bytes, and the formula says ${said}` }
  },
}
export const structureLaws: Readonly<Record<StructureLawName, StructureLaw>> = { compactIsMasked, compactCounts, zerosStay, sparseReturns, sparseBytes }
const kit: Kit<Structure, Case, StructureLawName> = {
  op: "checkStructure", laws: structureLaws,
  cases: (fc, { unit = 1 }) => matrices(fc, { group: 8, unit }, ordinary),
  smaller: [function* (c, { unit = 1 }) { for (const s of smaller(c, unit)) if (s.values.length > 0) yield s }, (c) => plainer(c)],
  show: ({ values, shape, pick }) => [`${shape.join(" × ")}: [${Array.from(values.subarray(0, 16), show).join(", ")}${values.length > 16 ? ", …" : ""}], pick ${pick}`],
}
/** Holds what leaves parts of matrices out, trains what is left or stores it to the laws it says it obeys. */
export const checkStructure = (structure: Structure, options: LawOptions): Promise<SubjectReport<StructureLawName>> => checkSubject(kit, structure, options)
