import { activity, bitmask, columns, csr, erk, fisher, globally, int, keepOf, magnitude, nOfM, owl, pruned, randomScore, sparsegpt, taylor, unstructured, wanda, type Method, type Score, type Sparsity, type Store } from "@thimble/compress"

/** A way to prune the matrices of blocks, once, or once for each seed of calibration data and of random scores. */
export interface Row {
  readonly group: string
  readonly name: string
  readonly seeded: boolean
  /** What is done with matrices, their zeros stored with them; undefined leaves them as they are. */
  method(seed: number): Method | undefined
  /** What matrices are stored in; what takes the least bytes unless given. */
  readonly store?: Store
  /** Whether some inputs of matrices are made to stand out first, which leaves the function as it is. */
  readonly planted?: boolean
  /** How what is left is trained afterwards. */
  readonly recovers?: "labels" | "original"
}

/** Values that stay are stored as they were, in bf16. */
const store = "bf16"
const percent = (share: number): string => `${Math.round(100 * share)} %`
/** Names of rows that claims are about. */
export const named = (what: string, score: string): string => `${what}, ${score}`

interface Scored { readonly name: string; readonly seeded: boolean; score(seed: number): Score; readonly within?: "row" }
const magnitudes: Scored = { name: "magnitude", seeded: false, score: () => magnitude() }
// As it was published, Wanda ranks the weights of each output by themselves.
const activations: Scored = { name: "Wanda", seeded: true, score: wanda, within: "row" }
const scores: readonly Scored[] = [
  { name: "random", seeded: true, score: randomScore }, magnitudes, { name: "Taylor, first order", seeded: true, score: () => taylor() }, { name: "Taylor, second order", seeded: true, score: () => taylor({ order: "second" }) },
  { name: "Fisher", seeded: true, score: fisher }, activations,
]
export const scoreNames: readonly string[] = [...scores.map((s) => s.name), "SparseGPT"]
export const shares: readonly number[] = [0.2, 0.4, 0.5, 0.6, 0.8]

const unstructuredRows = shares.flatMap((share): Row[] => [
  ...scores.map(({ name, seeded, score, within }): Row => ({ group: "single weights", name: named(percent(share), name), seeded, method: (seed) => pruned({ score: score(seed), pattern: unstructured(share, within && { within }), store }) })),
  { group: "single weights", name: named(percent(share), "SparseGPT"), seeded: true, method: () => sparsegpt({ sparsity: share, store }) },
])

const patternRows = ([[4, 8], [2, 4]] as const).flatMap(([n, m]): Row[] => {
  const sparsity: Sparsity = { keep: n, of: m }, group = "n of m neighbours stay"
  return [
    ...[magnitudes, activations].map(({ name, seeded, score }): Row => ({ group, name: named(`${n}:${m}`, name), seeded, method: (seed) => pruned({ score: score(seed), pattern: keepOf(n, m), store }) })),
    { group, name: named(`${n}:${m}`, "SparseGPT"), seeded: true, method: () => sparsegpt({ sparsity, store }) },
  ]
})

const spreadRows = [magnitudes, activations].flatMap(({ name, seeded, score, within }): Row[] => [globally(), erk(), owl()].map((spread): Row => ({
  group: "60 % of all, not of each matrix", name: named(`60 % ${spread.name}`, name), seeded: seeded || spread.name === "owl", method: (seed) => pruned({ score: score(seed), pattern: unstructured(0.6, within && { within }), spread, store }),
})))

const columnRows = [...scores, { name: "activity (1 − APoZ), from 0.1 on", seeded: true, score: () => activity({ threshold: 0.1 }) }].map(({ name, seeded, score }): Row => ({
  group: "whole columns of a matrix", name: named("20 % columns", name), seeded, method: (seed) => pruned({ score: score(seed), pattern: columns(0.2), store }),
}))

const standing = { group: "half of a model whose inputs stand out, as a large model's do", planted: true }
const plantedRows: readonly Row[] = [
  ...scores.filter((s) => ["magnitude", "Fisher", "Wanda"].includes(s.name)).map(({ name, seeded, score, within }): Row => ({ ...standing, name: named("50 % planted", name), seeded, method: (seed) => pruned({ score: score(seed), pattern: unstructured(0.5, within && { within }), store }) })),
  { ...standing, name: named("50 % planted", "SparseGPT"), seeded: true, method: () => sparsegpt({ sparsity: 0.5, store }) },
]

const recovered = (["labels", "original"] as const).map((recovers): Row => ({
  group: "half pruned by magnitude, then trained, zeros kept", name: recovers === "labels" ? "fine-tuned" : "distilled", seeded: true, method: () => pruned({ score: magnitude(), pattern: unstructured(0.5), store }), recovers,
}))

const [half, fifth, pairs] = [unstructured(0.5), unstructured(0.8), keepOf(2, 4)]
const stores: readonly Row[] = ([
  ["50 %", half, ["bf16", bitmask({ values: "bf16" }), csr({ values: "bf16" }), "f32", csr(), int(8, { group: 32 }), bitmask({ values: "int8" }), csr({ values: "int8" })]],
  ["80 %", fifth, ["bf16", bitmask({ values: "bf16" }), csr({ values: "bf16" }), "f32", csr(), int(8, { group: 32 }), bitmask({ values: "int8" }), csr({ values: "int8" })]],
  ["2:4", pairs, ["bf16", bitmask({ values: "bf16" }), nOfM(2, 4, { values: "bf16" }), "f32", nOfM(2, 4), int(8, { group: 32 }), nOfM(2, 4, { values: "int8" }), nOfM(2, 4, { values: "int4" })]],
] as const).flatMap(([what, pattern, all]) => all.map((own: Store): Row => ({
  group: "stores of what magnitude leaves", name: named(what, typeof own === "string" ? own : own.name), seeded: false, method: () => pruned({ score: magnitude(), pattern, store }), store: own,
})))

export const original = "nothing"
export const rows: readonly Row[] = [{ group: "single weights", name: original, seeded: false, method: () => undefined }, ...unstructuredRows, ...patternRows, ...spreadRows, ...columnRows, ...plantedRows, ...stores, ...recovered]
