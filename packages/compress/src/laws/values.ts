// Matrices that are hard to round: what generators are made of.
import type { MatrixShape } from "../quantizer.ts"

/** Numbers in [0, 1) from a seed (Mulberry32): the same ones everywhere. */
export function numbers(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
const gauss = (next: () => number): number => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next())
/** A whole number below n. */
const below = (next: () => number, n: number): number => Math.floor(next() * n)
const sign = (next: () => number): number => (next() < 0.5 ? -1 : 1)

/** One matrix of a kind, row-major; its columns may matter (outliers). */
type Fill = (next: () => number, size: number, columns: number) => ArrayLike<number>
const each = (of: (next: () => number, i: number, columns: number) => number): Fill => (next, size, columns) => Array.from({ length: size }, (_, i) => of(next, i, columns))
/** A kind within which a scale or a place is chosen once. */
const once = (of: (next: () => number, size: number, columns: number) => (i: number) => number): Fill => (next, size, columns) => {
  const value = of(next, size, columns)
  return Array.from({ length: size }, (_, i) => value(i))
}

/** The kinds of matrices that laws are tried on. */
export type Kind =
  | "gaussian" | "heavy" | "outlierChannel" | "integers" | "positive" | "negative" | "constant" | "zeros" | "oneHot" | "bothEnds" | "halfSteps"
  | "powers" | "small" | "subnormal" | "large" | "huge"

export const kinds = {
  gaussian: each(gauss),
  /** A few elements far out. */
  heavy: each((next) => gauss(next) / (next() + 0.01) ** 1.5),
  /** One column much larger than the others. */
  outlierChannel: once((next, _, columns) => {
    const at = below(next, columns)
    return (i) => gauss(next) * (i % columns === at ? 50 : 1)
  }),
  /** Small whole numbers, which lie on ties between codes. */
  integers: each((next) => below(next, 33) - 16),
  positive: each((next) => 1 + next()),
  negative: each((next) => -1 - next()),
  constant: once((next) => {
    const c = gauss(next)
    return () => c
  }),
  zeros: each((next) => (next() < 0.9 ? 0 : -0)),
  /** All but one are zero or tiny. */
  oneHot: once((next, size) => {
    const at = below(next, size), rest = next() < 0.5 ? 0 : 1e-3
    return (i) => (i === at ? gauss(next) * 3 : rest * gauss(next))
  }),
  /** The largest magnitude with both signs. */
  bothEnds: each((next) => (next() < 0.3 ? sign(next) * 2 : gauss(next) / 2)),
  /** Halfway between codes of evenly spaced formats, or next to it. */
  halfSteps: once((next) => {
    const top = [7, 15, 31, 127, 8, 16][below(next, 6)]!, step = 2 ** (below(next, 5) - 2) * (next() < 0.5 ? 1 : 1 / top)
    return (i) => (i === 0 ? top * step : Math.fround((below(next, 2 * top) - top + 0.5) * step) * (1 + (below(next, 3) - 1) * 2 ** -23))
  }),
  /** Magnitudes over many powers of two. */
  powers: each((next) => sign(next) * 2 ** (below(next, 24) - 12)),
  /** Below the normal numbers of f16. */
  small: each((next) => gauss(next) * 2 ** (-18 - below(next, 10))),
  subnormal: each((next) => sign(next) * below(next, 2 ** 12) * 2 ** -149),
  /** About where f16 ends. */
  large: each((next) => gauss(next) * 4e4),
  /** About where f32 ends. */
  huge: each((next) => sign(next) * (0.5 + next() / 2) * 3.4e38),
} satisfies Record<Kind, Fill>

/** Kinds whose magnitudes no stored scale minds. */
export const ordinary = ["gaussian", "heavy", "outlierChannel", "integers", "positive", "negative", "constant", "zeros", "oneHot", "bothEnds", "halfSteps"] as const satisfies readonly Kind[]
export const allKinds = Object.keys(kinds) as readonly Kind[]

/** A matrix of a kind. */
export function fill(kind: Kind, seed: number, [rows, columns]: MatrixShape): Float32Array {
  return Float32Array.from(kinds[kind](numbers(seed), rows * columns, Math.max(1, columns)))
}

/** Places in another order. */
export function shuffled(n: number, seed: number): Int32Array {
  const next = numbers(seed), order = Int32Array.from({ length: n }, (_, i) => i)
  for (let i = n - 1; i > 0; i--) {
    const j = below(next, i + 1), swap = order[i]!
    order[i] = order[j]!
    order[j] = swap
  }
  return order
}
