// Matrices together with the inputs that they are multiplied with: what calibrated methods are tried on.
import type fastCheck from "fast-check"
import type { MatrixShape } from "../quantizer.ts"
import { calibrations } from "./arbitrary.ts"
import { show } from "./bounds.ts"
import { plainer, smaller } from "./minimize.ts"
import { fill, type Kind } from "./values.ts"

/** Weights [rows, columns], inputs [tokens, columns], and one more choice that a law makes. */
export interface Calibrated {
  readonly weights: Float32Array
  readonly shape: MatrixShape
  readonly inputs: Float32Array
  readonly tokens: number
  readonly pick: number
}

const kinds = ["gaussian", "heavy", "outlierChannel", "positive", "negative", "constant", "oneHot", "bothEnds"] as const satisfies readonly Kind[]

/** Matrices and inputs: few tokens, dead and repeated columns, outliers, none at all; rows are multiples of `unit`. */
export function calibrated(fc: typeof fastCheck, { unit = 1 }: { readonly unit?: number } = {}): fastCheck.Arbitrary<Calibrated> {
  const widths = [...new Set([1, 2, 3, 4, 5, 8, 13, 24].map((w) => Math.ceil(w / unit) * unit))]
  return fc.tuple(fc.constantFrom(...kinds), fc.integer(), fc.constantFrom(...widths), fc.integer({ min: 1, max: 3 }), fc.nat(2 ** 16)).chain(([kind, seed, columns, rows, pick]) =>
    calibrations(fc, { columns }).map((c): Calibrated => ({ weights: fill(kind, seed, [rows, columns]), shape: [rows, columns], inputs: c.values, tokens: c.shape[0], pick })))
}

/** The columns that are left of a matrix when only some of its columns are. */
function* lessWeights(c: Calibrated, unit: number): Generator<Calibrated> {
  const { shape: [rows, columns], weights, inputs, tokens } = c
  const take = (from: Float32Array, height: number, kept: readonly number[]): Float32Array => Float32Array.from({ length: height * kept.length }, (_, i) => from[Math.floor(i / kept.length) * columns + kept[i % kept.length]!]!)
  const all = Array.from({ length: columns }, (_, i) => i)
  if (rows > 1) for (let r = 0; r < rows; r++) yield { ...c, weights: weights.slice(r * columns, (r + 1) * columns), shape: [1, columns] }
  for (let cut = Math.floor(columns / 2 / unit) * unit; cut >= unit; cut = Math.floor(cut / 2 / unit) * unit)
    for (let from = 0; from < columns; from += cut) {
      const kept = all.filter((x) => x < from || x >= from + cut)
      if (kept.length > 0) yield { ...c, weights: take(weights, rows, kept), shape: [rows, kept.length], inputs: take(inputs, tokens, kept) }
    }
}
function* lessInputs(c: Calibrated): Generator<Calibrated> {
  const { shape: [, columns], inputs, tokens, pick } = c
  for (const small of smaller({ values: inputs, shape: [tokens, columns], pick }, columns + 1)) yield { ...c, inputs: small.values, tokens: small.shape[0] }
}
function* plainNumbers(c: Calibrated): Generator<Calibrated> {
  const { shape, weights, inputs, tokens, pick } = c
  for (const p of [0, 1, 2, 3]) if (p < pick) yield { ...c, pick: p }
  for (const w of plainer({ values: weights, shape, pick })) yield { ...c, weights: w.values }
  for (const x of plainer({ values: inputs, shape: [tokens, shape[1]], pick })) yield { ...c, inputs: x.values }
}
/** What is smaller than a case. */
export const smallerCalibrated = [
  (c: Calibrated, { unit = 1 }: { readonly unit?: number }) => lessWeights(c, unit), lessInputs, plainNumbers,
] as const

const rowsOf = (values: Float32Array, columns: number): string[] => Array.from({ length: Math.min(4, values.length / Math.max(1, columns)) }, (_, r) => `[${Array.from(values.subarray(r * columns, Math.min((r + 1) * columns, r * columns + 16)), show).join(", ")}]`)
/** A case as reports print it. */
export const showCalibrated = ({ weights, shape: [rows, columns], inputs, tokens, pick }: Calibrated): string[] => [
  `weights ${rows} × ${columns}: ${rowsOf(weights, columns).join(" ")}`, `inputs ${tokens} × ${columns}: ${rowsOf(inputs, columns).join(" ")}${tokens > 4 ? " …" : ""}`, `pick ${pick}`,
]

/** Σ x·xᵀ · 2, as calibration gives it to solvers. */
export function hessianOf({ inputs, tokens, shape: [, n] }: Pick<Calibrated, "inputs" | "tokens" | "shape">): Float64Array {
  const h = new Float64Array(n * n)
  for (let t = 0; t < tokens; t++) for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) h[i * n + j]! += 2 * inputs[t * n + i]! * inputs[t * n + j]!
  return h
}
/** e·H·eᵀ of a row of differences. */
export function quadratic(e: ArrayLike<number>, h: Float64Array, added: number): number {
  const n = e.length
  let sum = 0
  for (let i = 0; i < n; i++) {
    let row = 0
    for (let j = 0; j < n; j++) row += (h[i * n + j]! + (i === j ? added : 0)) * e[j]!
    sum += row * e[i]!
  }
  return sum
}
/** Columns that no input reaches. */
export const isDead = (h: Float64Array, n: number, j: number): boolean => h[j * n + j] === 0
