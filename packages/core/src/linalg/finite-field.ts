/** A finite field of order q = p or q = p^d with d ≤ 3; elements are the numbers 0 … q − 1, their base-p digits the coefficients. */
export interface FiniteField {
  readonly order: number
  subtract(x: number, y: number): number
  /** 1 for a square, −1 for a non-square, 0 for zero. */
  character(x: number): -1 | 0 | 1
}

/** The field of odd order q, or undefined where q is no prime, no square and no cube of a prime. */
export function finiteField(q: number): FiniteField | undefined {
  const p = smallestFactor(q)
  const degree = [1, 2, 3].find((d) => p ** d === q)
  if (degree === undefined || p < 3) return undefined
  const digits = (x: number): number[] => Array.from({ length: degree }, (_, i) => Math.floor(x / p ** i) % p)
  const number = (c: readonly number[]): number => c.reduce((sum, x, i) => sum + x * p ** i, 0)
  const square = squaring(p, degree)
  const squares = new Set<number>()
  for (let x = 1; x < q; x++) squares.add(number(square(digits(x))))
  return {
    order: q,
    subtract(x, y) {
      const b = digits(y)
      return number(digits(x).map((xi, i) => (xi - b[i]! + p) % p))
    },
    character: (x) => (x === 0 ? 0 : squares.has(x) ? 1 : -1),
  }
}

function smallestFactor(q: number): number {
  for (let p = 2; p * p <= q; p++) if (q % p === 0) return p
  return q
}

/** Squares a polynomial over the integers modulo p, modulo an irreducible monic polynomial of that degree. */
function squaring(p: number, degree: number): (x: readonly number[]) => number[] {
  const modulus = irreducible(p, degree)
  return (x) => {
    const product = new Array<number>(2 * degree - 1).fill(0)
    for (let i = 0; i < degree; i++) for (let j = 0; j < degree; j++) product[i + j] = (product[i + j]! + x[i]! * x[j]!) % p
    for (let i = product.length - 1; i >= degree; i--) {
      const top = product[i]!
      for (let j = 0; j < degree; j++) product[i - degree + j] = (product[i - degree + j]! + top * (p - modulus[j]!)) % p
    }
    return product.slice(0, degree)
  }
}

/** Lower coefficients of the first monic polynomial without a root, which up to degree 3 means irreducible. */
function irreducible(p: number, degree: number): number[] {
  if (degree === 1) return [0]
  for (let code = 0; ; code++) {
    const c = Array.from({ length: degree }, (_, i) => Math.floor(code / p ** i) % p)
    let root = false
    for (let x = 0; x < p && !root; x++) root = c.reduceRight((sum, ci) => (sum * x + ci) % p, 1) === 0
    if (!root) return c
  }
}
