import fc from "fast-check"

/** Unit of every bound: the spacing of doubles at 1. */
export const ε = 2 ** -52

/** A plain triple loop, independent of the blocked product under test: A (m×k) · B (k×n). */
export function multiply(a: ArrayLike<number>, b: ArrayLike<number>, m: number, k: number, n: number): Float64Array {
  const out = new Float64Array(m * n)
  for (let i = 0; i < m; i++)
    for (let l = 0; l < k; l++) for (let j = 0, x = a[i * k + l]!; j < n; j++) out[i * n + j]! += x * b[l * n + j]!
  return out
}

export function transpose(a: ArrayLike<number>, m: number, n: number): Float64Array {
  return Float64Array.from({ length: m * n }, (_, p) => a[(p % m) * n + Math.floor(p / m)]!)
}

/** Frobenius norm. */
export const norm = (a: ArrayLike<number>): number => Math.sqrt(Array.from(a).reduce((sum, x) => sum + x * x, 0))

/** Frobenius distance. */
export const distance = (a: ArrayLike<number>, b: ArrayLike<number>): number => norm(Float64Array.from(a, (x, i) => x - b[i]!))

export const eye = (n: number): Float64Array => Float64Array.from({ length: n * n }, (_, p) => (p % (n + 1) === 0 ? 1 : 0))

/** ‖QᵀQ − I‖ of an m×k matrix. */
export const departure = (q: Float64Array, m: number, k: number): number => distance(multiply(transpose(q, m, k), q, k, m, k), eye(k))

/** mulberry32, in (−1, 1). */
export function noise(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return (((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * 2 - 1
  }
}

export function random(m: number, n: number, seed: number): Float64Array {
  const next = noise(seed)
  return Float64Array.from({ length: m * n }, next)
}

/** The inputs that break factorisations: low rank, graded rows, many equal values, zeros, integers. */
const makers = {
  random,
  zero: (m, n) => new Float64Array(m * n),
  ones: (m, n) => new Float64Array(m * n).fill(1),
  rankTwo: (m, n, seed) => multiply(random(m, 2, seed), random(2, n, seed + 1), m, 2, n),
  zeroColumns: (m, n, seed) => random(m, n, seed).map((x, p) => (p % n) % 3 === 1 ? 0 : x),
  gradedDown: (m, n, seed) => random(m, n, seed).map((x, p) => x * 10 ** -Math.floor(p / n)),
  gradedUp: (m, n, seed) => random(m, n, seed).map((x, p) => x * 10 ** (Math.floor(p / n) - m)),
  signs: (m, n, seed) => random(m, n, seed).map((x) => (x < 0 ? -1 : 1)),
  sparse: (m, n, seed) => random(m, n, seed).map((x) => (Math.abs(x) < 0.8 ? 0 : Math.round(x * 9))),
  identity: (m, n) => Float64Array.from({ length: m * n }, (_, p) => (p % (n + 1) === 0 ? 1 : 0)),
} satisfies Record<string, (m: number, n: number, seed: number) => Float64Array>

export interface Sample {
  readonly kind: string
  readonly a: Float64Array
  readonly m: number
  readonly n: number
  [fc.toStringMethod](): string
}

/** A sample that a failing property prints by its making, not by its elements. */
const sample = (kind: keyof typeof makers, m: number, n: number, seed: number): Sample => ({
  kind, m, n,
  a: makers[kind](m, n, seed),
  [fc.toStringMethod]: () => `${kind}(${m}, ${n}, ${seed})`,
})

const kinds = fc.constantFrom(...(Object.keys(makers) as (keyof typeof makers)[]))
const seeds = fc.integer({ min: 0, max: 1e6 })
/** Around the sizes where routines switch from plain loops to blocks (16, 32). */
export const sizes = fc.oneof(fc.integer({ min: 0, max: 12 }), fc.integer({ min: 13, max: 48 }))

export const rectangles: fc.Arbitrary<Sample> = fc
  .tuple(kinds, sizes, sizes, seeds)
  .map(([kind, m, n, seed]) => sample(kind, m, n, seed))

export const squares: fc.Arbitrary<Sample> = fc
  .tuple(kinds, sizes, seeds)
  .map(([kind, n, seed]) => sample(kind, n, n, seed))

export const symmetrics: fc.Arbitrary<Sample> = squares.map((s) => {
  const { a, n } = s
  const t = transpose(a, n, n)
  return { ...s, a: a.map((x, p) => x + t[p]!) }
})

/** G·Gᵀ + I, with a graded or plain G: positive definite whatever G is. */
export const definites: fc.Arbitrary<Sample> = squares.map((s) => {
  const { a, n } = s
  const gram = multiply(a, transpose(a, n, n), n, n, n)
  return { ...s, a: gram.map((x, p) => x + (p % (n + 1) === 0 ? 1 : 0)) }
})

/** Powers of two to scale by: far from overflow of the elements, not of their squares. */
export const exponents = fc.constantFrom(-900, -600, -1, 1, 600, 900)

export const hilbert = (n: number): Float64Array =>
  Float64Array.from({ length: n * n }, (_, p) => 1 / (Math.floor(p / n) + (p % n) + 1))
