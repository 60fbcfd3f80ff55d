import type fastCheck from "fast-check"
import type { Quantizer } from "../quantizer.ts"
import type { Case } from "./law.ts"
import { allKinds, fill, type Kind } from "./values.ts"

/** Elements of a matrix that laws are tried on, at most. */
const most = 1100

/** Row lengths around the ends of groups: one, a group and its neighbours, some groups and a ragged one, a prime. */
function widths({ group, unit = 1, span = group }: Pick<Quantizer, "group" | "unit" | "span">): number[] {
  const size = Number.isFinite(group) ? group : 8, own = Number.isFinite(span) ? span : 8
  const wanted = [1, 2, 3, size - 1, size, size + 1, own, 2 * own + 1, 3 * size + 2, 13, 37]
  return [...new Set(wanted.map((w) => Math.max(1, Math.ceil(w / unit)) * unit))].filter((w) => w <= most).sort((a, b) => a - b)
}

/**
 * Matrices that are hard for a quantizer: of all kinds (ties between codes, both ends of a range, one large column, all
 * positive, constant, subnormal, near the ends of f16 and f32, …), with rows that end within a group, and up to three rows.
 */
export function matrices<E>(fc: typeof fastCheck, quantizer: Pick<Quantizer<E>, "group" | "unit" | "span">, kinds: readonly Kind[] = allKinds): fastCheck.Arbitrary<Case> {
  return fc.tuple(fc.constantFrom(...kinds), fc.integer(), fc.constantFrom(...widths(quantizer)), fc.integer({ min: 1, max: 3 }), fc.nat(2 ** 16))
    .map(([kind, seed, columns, rows, pick]): Case => {
      const shape = [columns * rows > most ? 1 : rows, columns] as const
      return { values: fill(kind, seed, shape), shape, pick }
    })
}

/**
 * Calibration inputs [tokens, columns] that solvers stumble over: fewer tokens than columns, columns that repeat or are
 * multiples of others, columns that are always zero, one much larger than the others.
 */
export function calibrations(fc: typeof fastCheck, { columns, tokens = 2 * columns }: { readonly columns: number; readonly tokens?: number }): fastCheck.Arbitrary<{ readonly values: Float32Array; readonly shape: readonly [tokens: number, columns: number] }> {
  return fc.tuple(fc.constantFrom("full", "few", "repeated", "dead", "outlier", "none"), fc.integer(), fc.nat(1000)).map(([kind, seed, pick]) => {
    const n = kind === "few" ? Math.max(1, Math.floor(columns / 3)) : kind === "none" ? 0 : tokens, shape = [n, columns] as const
    const values = fill(kind === "outlier" ? "outlierChannel" : "gaussian", seed, shape), at = pick % columns, other = (at + 1) % columns
    for (let t = 0; t < n; t++) {
      if (kind === "dead") values[t * columns + at] = 0
      if (kind === "repeated") values[t * columns + other] = (1 + (pick % 3)) * values[t * columns + at]!
    }
    return { values, shape }
  })
}
