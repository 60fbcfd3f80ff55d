import { fail } from "../errors.ts"
import { UnfitSize } from "./failure.ts"
import { finiteField, type FiniteField } from "./finite-field.ts"

/** A Hadamard matrix as the Kronecker product of a Paley matrix and a Sylvester matrix: size = base · 2^doublings. */
export interface HadamardFactors {
  /** Order of the Paley matrix; 1 for a power of two. */
  readonly base: number
  readonly doublings: number
}

/** Largest Paley matrix used: a transform costs `base` multiplications per element. */
const LARGEST_BASE = 1024

/**
 * The factors used for a size. Every 2^k and every m·2^k works for which m is one more than a prime (or a square or cube
 * of one) of the form 4j + 3, or twice one more than one of the form 4j + 1: m = 12, 20, 28, 36, 44, 52, 60, 68, 76 …
 * @throws UnfitSize with the nearest usable sizes
 */
export function hadamardFactors(size: number, op = "hadamard"): HadamardFactors {
  const found = findFactors(size)
  if (found !== undefined) return found
  // Powers of two bound both searches.
  let below = Math.max(1, Math.floor(size)), above = below
  while (findFactors(below) === undefined) below--
  while (above < size || findFactors(above) === undefined) above++
  throw new UnfitSize(op, size, below, above)
}

/**
 * The Hadamard matrix H of a size, size×size, entries ±1, H·Hᵀ = size·I: the Paley matrix of order `base` times
 * (Kronecker) the Sylvester matrix of order 2^doublings.
 * @throws UnfitSize with the nearest usable sizes
 */
export function hadamardMatrix(size: number): Int8Array {
  const { base, doublings } = hadamardFactors(size)
  let h = paleyMatrix(base).slice()
  for (let k = 0, n = base; k < doublings; k++, n *= 2) {
    const next = new Int8Array(4 * n * n)
    // Sylvester's factor is the inner one: each entry x becomes [[x, x], [x, −x]].
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        const x = h[i * n + j]!, at = 4 * n * i + 2 * j
        next[at] = next[at + 1] = next[at + 2 * n] = x
        next[at + 2 * n + 1] = -x
      }
    }
    h = next
  }
  return h
}

function findFactors(size: number): HadamardFactors | undefined {
  if (!Number.isInteger(size) || size < 1) return undefined
  let odd = size, doublings = 0
  for (; odd % 2 === 0; odd /= 2) doublings++
  if (odd === 1) return { base: 1, doublings }
  for (let k = 2, base = 4 * odd; k <= doublings && base <= LARGEST_BASE; k++, base *= 2)
    if (paleyKind(base) !== undefined) return { base, doublings: doublings - k }
  return undefined
}

/** Paley's first construction needs a field of order m − 1 ≡ 3 (mod 4), his second one of order m/2 − 1 ≡ 1 (mod 4). */
function paleyKind(m: number): { kind: 1 | 2; field: FiniteField } | undefined {
  const first = m % 4 === 0 ? finiteField(m - 1) : undefined
  if (first !== undefined) return { kind: 1, field: first }
  const second = m % 8 === 4 ? finiteField(m / 2 - 1) : undefined
  return second === undefined ? undefined : { kind: 2, field: second }
}

const built = new Map<number, Int8Array>([[1, Int8Array.of(1)]])

/** The Paley matrix of an order that {@link hadamardFactors} names; built once, not to be written to. */
export function paleyMatrix(m: number): Int8Array {
  const h = built.get(m) ?? buildPaley(m)
  built.set(m, h)
  return h
}

/** R. Paley, "On orthogonal matrices" (1933). */
function buildPaley(m: number): Int8Array {
  const { kind, field } = paleyKind(m) ?? fail("internal", "hadamard", `no Paley matrix of order ${m}`)
  const n = field.order + 1
  // Q bordered by ones: the character of the difference of two elements; symmetric for the second kind, skew for the first.
  const bordered = (i: number, j: number): number => {
    if (i === 0 || j === 0) return i === j ? 0 : j === 0 && kind === 1 ? -1 : 1
    return field.character(field.subtract(i - 1, j - 1))
  }
  const h = new Int8Array(m * m)
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const x = bordered(i, j)
      if (kind === 1) h[i * m + j] = i === j ? 1 : x
      else {
        // 0 becomes [[1, −1], [−1, −1]], ±1 becomes ±[[1, 1], [1, −1]].
        const at = 2 * (i * m + j)
        h[at] = x === 0 ? 1 : x
        h[at + 1] = h[at + m] = x === 0 ? -1 : x
        h[at + m + 1] = x === 0 ? -1 : -x
      }
    }
  }
  return h
}
