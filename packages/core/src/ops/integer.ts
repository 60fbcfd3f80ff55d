import * as e from "../expr.ts"
import type { Tensor } from "../tensor.ts"
import { floor, mul, neg, trunc, div } from "./elementwise.ts"
import { binary, like, unary } from "./define.ts"

// Division with remainder, and bits. Whole numbers divided by zero give 0, floats what IEEE division gives.

const isReal = (x: e.Expr): boolean => x.type === "f32" || x.type === "f64"
/** Whether a remainder of truncating division must move by one divisor to have the divisor's sign. */
const offside = (rest: e.Expr, b: e.Expr): e.Expr => {
  const zero = like(b, 0)
  return b.type === "u32" ? e.constant("bool", 0) : e.and(e.ne(rest, zero), e.xor(e.lt(rest, zero), e.lt(b, zero)))
}
const byQuotient = (rounded: (x: Tensor) => Tensor) => (dy: Tensor, a: Tensor, b: Tensor): readonly [Tensor, Tensor] => [dy, neg(mul(dy, rounded(div(a, b))))]

/** What truncating division leaves; it has the sign of the dividend. */
export const fmod = binary("fmod", "number", e.rem, byQuotient(trunc))
/** What floor division leaves; it has the sign of the divisor. */
export const remainder = binary("remainder", "number", (a, b) => {
  const rest = e.rem(a, b)
  return e.select(offside(rest, b), e.add(rest, b), rest)
}, byQuotient(floor))

/** a/b rounded toward zero. */
export const truncDivide = binary("truncDivide", "number", (a, b) => (isReal(a) ? e.trunc(e.div(a, b)) : e.div(a, b)))
/** The floor of a/b; of floats by way of {@link fmod}, so that `floorDivide(a, b)·b + remainder(a, b)` is a. */
export const floorDivide = binary("floorDivide", "number", (a, b) => {
  const rest = e.rem(a, b)
  const back = e.select(offside(rest, b), like(b, 1), like(b, 0))
  if (!isReal(a)) return e.sub(e.div(a, b), back)
  // The quotient is whole but for rounding: to the nearest, and never away from 0/b.
  const quotient = e.sub(e.div(e.sub(a, rest), b), back), below = e.floor(quotient)
  const nearest = e.select(e.gt(e.sub(quotient, below), like(a, 0.5)), e.add(below, like(a, 1)), below)
  return e.select(e.eq(b, like(b, 0)), e.div(a, b), nearest)
})

export const bitwiseAnd = binary("bitwiseAnd", "bits", e.and)
export const bitwiseOr = binary("bitwiseOr", "bits", e.or)
export const bitwiseXor = binary("bitwiseXor", "bits", e.xor)
export const bitwiseNot = unary("bitwiseNot", "bits", e.not)
/** a·2ᵇ without overflow checks; only the low five bits of b count. */
export const leftShift = binary("leftShift", "integer", e.shl)
/** ⌊a/2ᵇ⌋, with the sign kept; only the low five bits of b count. */
export const rightShift = binary("rightShift", "integer", e.shr)
