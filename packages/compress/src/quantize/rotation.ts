import { fail, linalg } from "@thimble/core"
import { numbers } from "../laws/values.ts"

/**
 * Orthogonal matrices that spread what stands out over all features. `hadamard`: the same one every time. `randomHadamard`:
 * with random signs before it, so that nothing lines up with it. `orthogonal`: uniform among all of them.
 */
export type RotationKind = "hadamard" | "randomHadamard" | "orthogonal"

/** An orthogonal matrix Q: (the Kronecker product of an orthogonal and a Hadamard matrix) after signs. */
export interface Rotation {
  readonly size: number
  /** Order of the Hadamard factor, divided by its root; and that of the random orthogonal one. Their product is the size. */
  readonly hadamard: number
  readonly orthogonal: number
  /** Whether there are random signs. */
  readonly signs: boolean
  /** Rows x ← x·Q, in place. */
  apply(rows: Float64Array): void
  /** Rows x ← x·Qᵀ, in place. */
  undo(rows: Float64Array): void
}

export interface RotationOptions {
  readonly kind?: RotationKind
  /** Where signs and random matrices come from; 0 unless given. */
  readonly seed?: number
}

/**
 * An orthogonal matrix of a size. There are Hadamard matrices of few sizes (`linalg.hadamardFactors`); of another one, the
 * largest divisor that has one is used, and a random orthogonal matrix of what is left: still all features mix.
 */
export function rotation(size: number, { kind = "randomHadamard", seed = 0 }: RotationOptions = {}): Rotation {
  if (!(Number.isInteger(size) && size >= 1)) fail("value", "rotation", `size must be a whole number ≥ 1, got ${size}`)
  if (!["hadamard", "randomHadamard", "orthogonal"].includes(kind)) fail("value", "rotation", `kind must be hadamard, randomHadamard or orthogonal, got ${String(kind)}`)
  const next = numbers(seed), hadamard = kind === "orthogonal" ? 1 : largestFactor(size), orthogonal = size / hadamard
  const signs = kind === "randomHadamard" ? Float64Array.from({ length: size }, () => (next() < 0.5 ? -1 : 1)) : undefined
  const mix = orthogonal === 1 ? undefined : randomOrthogonal(orthogonal, next)
  const check = (rows: Float64Array): number => (rows.length % size === 0 ? rows.length / size : fail("shape", "rotation", `${rows.length} values in rows of ${size}`))
  const flip = (rows: Float64Array): void => {
    if (signs) for (let i = 0; i < rows.length; i++) rows[i]! *= signs[i % size]!
  }
  const mixed = (rows: Float64Array, count: number, back: boolean): void => {
    if (mix === undefined) return
    const { multiplyAdd, rowMajor, viewTransposed } = linalg, q = rowMajor(mix, orthogonal), old = rows.slice()
    rows.fill(0)
    if (hadamard === 1) multiplyAdd(rowMajor(rows, size), rowMajor(old, size), back ? viewTransposed(q) : q, count, size, size)
    else
      for (let r = 0; r < count; r++) {
        const at = r * size
        multiplyAdd(rowMajor(rows.subarray(at, at + size), hadamard), back ? q : viewTransposed(q), rowMajor(old.subarray(at, at + size), hadamard), orthogonal, hadamard, orthogonal)
      }
  }
  const transform = (rows: Float64Array, count: number, transposed: boolean): void => {
    if (hadamard > 1) linalg.hadamardTransform(rows, count * orthogonal, hadamard, { scale: "orthonormal", transposed })
  }
  return {
    size, hadamard, orthogonal, signs: signs !== undefined,
    apply(rows) {
      const count = check(rows)
      flip(rows)
      transform(rows, count, false)
      mixed(rows, count, false)
    },
    undo(rows) {
      const count = check(rows)
      mixed(rows, count, true)
      transform(rows, count, true)
      flip(rows)
    },
  }
}

/** The largest divisor that has a Hadamard matrix. */
function largestFactor(size: number): number {
  for (let rest = 1; rest < size; rest++) {
    if (size % rest !== 0) continue
    try {
      linalg.hadamardFactors(size / rest)
      return size / rest
    } catch (error) {
      if (!(error instanceof linalg.UnfitSize)) throw error
    }
  }
  return 1
}

/** Uniform among all orthogonal matrices: Q of a matrix of normal numbers, with the signs of R. Source: Mezzadri, arXiv math-ph/0609050. */
function randomOrthogonal(n: number, next: () => number): Float64Array {
  const normal = Float64Array.from({ length: n * n }, () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()))
  const { q, r } = linalg.qr(normal, n, n)
  return q.map((v, i) => (r[(i % n) * (n + 1)]! < 0 ? -v : v))
}
