import * as e from "../expr.ts"
import { like } from "./define.ts"

// Scalar formulas that several ops share.

/** 2·artanh(s) for |s| ≤ 0.2, by its series. */
export function twiceArtanh(s: e.Expr): e.Expr {
  const s2 = e.mul(s, s)
  let sum = like(s, 0)
  for (let k = s.type === "f64" ? 23 : 11; k >= 1; k -= 2) sum = e.add(e.mul(sum, s2), like(s, 2 / k))
  return e.mul(s, sum)
}
/** log(1+x) = 2·artanh(x/(2+x)), which does not round 1+x, between -1/3 and 1/2. */
export function log1p(x: e.Expr): e.Expr {
  const small = e.and(e.gt(x, like(x, -1 / 3)), e.lt(x, like(x, 0.5)))
  return e.select(small, twiceArtanh(e.div(x, e.add(x, like(x, 2)))), e.log(e.add(x, like(x, 1))))
}
/** exp(x) - 1 = 2t/(1-t) with t = tanh(x/2), which does not cancel, below 1/2 in size. */
export function expm1(x: e.Expr): e.Expr {
  const t = e.tanh(e.mul(x, like(x, 0.5)))
  return e.select(e.lt(e.abs(x), like(x, 0.5)), e.div(e.mul(t, like(t, 2)), e.sub(like(x, 1), t)), e.sub(e.exp(x), like(x, 1)))
}
/** 1/(1 + exp(-x)). */
export function sigmoid(x: e.Expr): e.Expr {
  return e.div(like(x, 1), e.add(like(x, 1), e.exp(e.neg(x))))
}
