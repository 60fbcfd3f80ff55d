import * as e from "../expr.ts"
import { add, div, eq, ge, logicalAnd, mul, neg, reciprocal, square, sub, where } from "./elementwise.ts"
import { binary, like, parametric, unary, type Input } from "./define.ts"
import * as formula from "./formula.ts"
import type { Tensor } from "../tensor.ts"

// Functions of real numbers. Integers and bool are taken as f32. Near a root they keep their relative accuracy.

type E = e.Expr
const one = (x: E): E => like(x, 1)
const times = (k: number, x: E): E => e.mul(x, like(x, k))

// ── Exponential and logarithm ──

export const exp = unary("exp", "float", e.exp, (_x, y) => y)
/** exp(x) - 1, accurate near 0. */
export const expm1 = unary("expm1", "float", formula.expm1, (_x, y) => add(y, 1))
export const log = unary("log", "float", e.log, (x) => reciprocal(x))
/** log(1 + x), accurate near 0. */
export const log1p = unary("log1p", "float", formula.log1p, (x) => reciprocal(add(x, 1)))
export const log2 = unary("log2", "float", (x) => e.div(e.log(x), like(x, Math.LN2)), (x) => reciprocal(mul(x, Math.LN2)))
export const log10 = unary("log10", "float", (x) => e.div(e.log(x), like(x, Math.LN10)), (x) => reciprocal(mul(x, Math.LN10)))

// ── Powers ──

export const sqrt = unary("sqrt", "float", e.sqrt, (_x, y) => div(0.5, y))
/** 1/√x. */
export const rsqrt = unary("rsqrt", "float", (x) => e.div(one(x), e.sqrt(x)), (_x, y) => mul(-0.5, mul(y, square(y))))

const powOp = binary("pow", "float", e.pow, (dy, a, b, out) => [
  where(eq(b, 0), 0, mul(dy, mul(b, powOp(a, sub(b, 1))))),
  // 0ᵇ does not grow with b ≥ 0, though log 0 is infinite.
  where(logicalAnd(eq(a, 0), ge(b, 0)), 0, mul(dy, mul(out, log(a)))),
])
const powerOf = (x: E, n: number): E =>
  n === 0 ? one(x) : n === 1 ? x : n === 2 ? e.mul(x, x) : n === 3 ? e.mul(e.mul(x, x), x)
  : n === 0.5 ? e.sqrt(x) : n === -0.5 ? e.div(one(x), e.sqrt(x)) : n === -1 ? e.div(one(x), x) : e.pow(x, like(x, n))
const powNumber: (x: Tensor, n: number) => Tensor = parametric<number>("pow", "float", powerOf, (x, _y, n) => (n === 0 ? 0 : mul(n, powNumber(x, n - 1))))
/** a to the power b, by IEEE's pow: x⁰ = 1 and 1ˣ = 1 even for NaN, roots of negative numbers are NaN. Integers are taken as f32. */
export function pow(a: Input, b: Input): Tensor {
  return typeof a === "object" && typeof b === "number" ? powNumber(a, b) : powOp(a, b)
}

// ── Circular functions ──

export const sin = unary("sin", "float", e.sin, (x) => cos(x))
export const cos = unary("cos", "float", e.cos, (x) => neg(sin(x)))
export const tan = unary("tan", "float", (x) => e.div(e.sin(x), e.cos(x)), (_x, y) => add(1, square(y)))
/** Arcsine, -π/2 … π/2; NaN outside [-1, 1]. */
export const asin = unary("asin", "float", (x) => e.atan(e.div(x, e.sqrt(e.mul(e.sub(one(x), x), e.add(one(x), x))))), (x) => rsqrt(sub(1, square(x))))
/** Arccosine, 0 … π; NaN outside [-1, 1]. */
export const acos = unary("acos", "float", (x) => times(2, e.atan(e.sqrt(e.div(e.sub(one(x), x), e.add(one(x), x))))), (x) => neg(rsqrt(sub(1, square(x)))))
/** Arctangent, -π/2 … π/2. */
export const atan = unary("atan", "float", e.atan, (x) => reciprocal(add(1, square(x))))

/** Negative, or minus zero. */
const isMinus = (x: E): E =>
  x.type === "f32" ? e.lt(e.bitcast(x, "i32"), e.int(0)) : e.lt(e.select(e.eq(x, like(x, 0)), e.div(one(x), x), x), like(x, 0))
/** Angle of the point (x, y), -π … π, signed zeros and infinities as in IEEE: atan2(y, x). */
export const atan2 = binary("atan2", "float", (y, x) => {
  const high = e.abs(y), wide = e.abs(x)
  const least = e.min(high, wide), most = e.max(high, wide)
  const ratio = e.select(e.eq(least, most), e.select(e.eq(most, like(x, 0)), most, one(x)), e.div(least, most))
  const eighth = e.atan(ratio)
  const quarter = e.select(e.gt(high, wide), e.sub(like(x, Math.PI / 2), eighth), eighth)
  const half = e.select(isMinus(x), e.sub(like(x, Math.PI), quarter), quarter)
  return e.select(isMinus(y), e.neg(half), half)
}, (dy, y, x) => {
  const g = div(dy, add(square(x), square(y)))
  return [mul(g, x), neg(mul(g, y))]
})

// ── Hyperbolic functions ──

export const sinh = unary("sinh", "float", (x) => {
  const m = formula.expm1(x)
  // Halving the exponent first, because sinh of 89 is an f32 though exp of it is not.
  const up = e.exp(times(0.5, x)), down = e.exp(times(-0.5, x))
  return e.select(e.lt(e.abs(x), one(x)), times(0.5, e.add(m, e.div(m, e.add(m, one(x))))), e.sub(e.mul(times(0.5, up), up), e.mul(times(0.5, down), down)))
}, (x) => cosh(x))
export const cosh = unary("cosh", "float", (x) => {
  const up = e.exp(times(0.5, x)), down = e.exp(times(-0.5, x))
  return e.add(e.mul(times(0.5, up), up), e.mul(times(0.5, down), down))
}, (x) => sinh(x))
export const tanh = unary("tanh", "float", e.tanh, (_x, y) => sub(1, square(y)))

/** Above this, x²+1 is x² in f64 too. */
const huge = 2 ** 28
/** Inverse of sinh. */
export const asinh = unary("asinh", "float", (x) => {
  const a = e.abs(x), a2 = e.mul(a, a)
  const near = formula.log1p(e.add(a, e.div(a2, e.add(one(x), e.sqrt(e.add(a2, one(x)))))))
  const size = e.select(e.lt(a, like(x, huge)), near, e.add(e.log(a), like(x, Math.LN2)))
  return e.select(e.lt(x, like(x, 0)), e.neg(size), size)
}, (x) => rsqrt(add(square(x), 1)))
/** Inverse of cosh, ≥ 0; NaN below 1. */
export const acosh = unary("acosh", "float", (x) => {
  const t = e.sub(x, one(x))
  const near = formula.log1p(e.add(t, e.sqrt(e.mul(t, e.add(t, like(x, 2))))))
  return e.select(e.gt(x, like(x, huge)), e.add(e.log(x), like(x, Math.LN2)), near)
}, (x) => mul(rsqrt(sub(x, 1)), rsqrt(add(x, 1))))
/** Inverse of tanh; infinite at ±1, NaN outside. */
export const atanh = unary("atanh", "float", (x) => {
  const twice = e.select(e.lt(e.abs(x), like(x, 0.2)), formula.twiceArtanh(x), e.log(e.div(e.add(one(x), x), e.sub(one(x), x))))
  return times(0.5, twice)
}, (x) => reciprocal(sub(1, square(x))))

/** Error function, 2/√π ∫₀ˣ exp(-t²) dt. */
export const erf = unary("erf", "float", e.erf, (x) => mul(2 / Math.sqrt(Math.PI), exp(neg(square(x)))))
