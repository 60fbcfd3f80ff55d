import type { Floats } from "./input.ts"
import { lu } from "./lu.ts"
import { exponentOf, shift } from "./scale.ts"

/** det A = sign · exp(logAbs); a singular matrix has sign 0 and logAbs −∞. */
export interface SignAndLog {
  readonly sign: -1 | 0 | 1
  readonly logAbs: number
}

/** The determinant of an n×n matrix. Only the result can over- or underflow, no step before it. */
export function determinant(a: Floats, n: number): number {
  const { mantissa, exponent } = pivotProduct(a, n)
  return shift(mantissa, exponent)
}

/** Sign and logarithm of the determinant of an n×n matrix, for determinants beyond the range of a double. */
export function signAndLogDeterminant(a: Floats, n: number): SignAndLog {
  const { mantissa, exponent } = pivotProduct(a, n)
  if (mantissa === 0) return { sign: 0, logAbs: -Infinity }
  return { sign: mantissa > 0 ? 1 : -1, logAbs: Math.log(Math.abs(mantissa)) + exponent * Math.LN2 }
}

/** The product of the pivots as mantissa · 2^exponent, with |mantissa| in [1, 2) or zero. */
function pivotProduct(a: Floats, n: number): { mantissa: number; exponent: number } {
  const { factors, parity, zeroPivot } = lu(a, n)
  if (zeroPivot >= 0) return { mantissa: 0, exponent: 0 }
  let mantissa: number = parity, exponent = 0
  for (let i = 0; i < n; i++) {
    const pivot = factors[i * n + i]!, e = exponentOf(pivot)
    mantissa *= shift(pivot, -e)
    const carry = exponentOf(mantissa)
    mantissa = shift(mantissa, -carry)
    exponent += e + carry
  }
  return { mantissa, exponent }
}
