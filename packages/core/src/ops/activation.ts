import * as e from "../expr.ts"
import { fail } from "../errors.ts"
import type { Tensor } from "../tensor.ts"
import { full } from "./create.ts"
import { abs, add, castTo, clamp, div, gt, le, logicalAnd, lt, minimum, mul, neg, square, sub, where } from "./elementwise.ts"
import { like, parametric, unary } from "./define.ts"
import * as formula from "./formula.ts"
import { erf, exp, tanh } from "./math.ts"

// Activations: one expression each, so that they join the kernel that makes their operand, and a derivative in tensors.

type E = e.Expr
const zero = (x: E): E => like(x, 0)
const one = (x: E): E => like(x, 1)
const times = (k: number, x: E): E => e.mul(x, like(x, k))
const isPositive = (x: E): E => e.gt(x, zero(x))
const between = (x: E, min: number, max: number): E => e.min(e.max(x, like(x, min)), like(x, max))
/** 1 where the condition holds, else 0. */
const step = (condition: Tensor, x: Tensor): Tensor => castTo(condition, x.dtype)

// ── Smooth steps ──

export const sigmoid = unary("sigmoid", "float", formula.sigmoid, (_x, y) => mul(y, sub(1, y)))
/** log(sigmoid(x)). */
export const logSigmoid = unary("logSigmoid", "float", (x) => e.sub(e.min(x, zero(x)), formula.log1p(e.exp(e.neg(e.abs(x))))), (x) => sigmoid(neg(x)))
/** x/(1 + |x|). */
export const softsign = unary("softsign", "float", (x) => e.div(x, e.add(one(x), e.abs(x))), (x) => div(1, square(add(1, abs(x)))))
/** A straight line from 0 at -3 to 1 at 3. */
export const hardsigmoid = unary("hardsigmoid", "float", (x) => e.div(between(e.add(x, like(x, 3)), 0, 6), like(x, 6)),
  (x) => mul(step(lt(abs(x), 3), x), 1 / 6))

// ── Rectifiers ──

/** max(x, 0); its derivative at 0 is 0. */
export const relu = unary("relu", "number", (x) => e.max(x, zero(x)), (x) => step(gt(x, 0), x))
/** relu that does not exceed 6. */
export const relu6 = unary("relu6", "number", (x) => between(x, 0, 6), (x) => step(logicalAnd(gt(x, 0), lt(x, 6)), x))

const hardtanhOp = parametric<{ min: number; max: number }>("hardtanh", "float", (x, { min, max }) => between(x, min, max),
  (x, _y, { min, max }) => step(logicalAnd(gt(x, min), lt(x, max)), x))
/** x held between two numbers; unlike `clamp`, no gradient passes at the bounds. */
export function hardtanh(x: Tensor, min = -1, max = 1): Tensor {
  if (!(min < max)) fail("value", "hardtanh", `needs min below max, got ${min} and ${max}`)
  return hardtanhOp(x, { min, max })
}

const leakyReluOp = parametric<number>("leakyRelu", "float", (x, slope) => e.select(isPositive(x), x, times(slope, x)),
  (x, _y, slope) => where(gt(x, 0), full([], 1, x.dtype), slope))
/** x above 0, slope·x below. */
export const leakyRelu = (x: Tensor, slope = 0.01): Tensor => leakyReluOp(x, slope)

/** scale·x above 0, scale·alpha·(exp(x/width) - 1) below: elu, selu and celu. */
const exponentialUnit = (name: string): ((x: Tensor, attrs: { alpha: number; scale: number; width: number }) => Tensor) =>
  parametric(name, "float",
    (x, { alpha, scale, width }) => e.select(isPositive(x), times(scale, x), times(scale * alpha, formula.expm1(e.div(x, like(x, width))))),
    (x, _y, { alpha, scale, width }) => where(gt(x, 0), full([], scale, x.dtype), mul(scale * alpha / width, exp(div(minimum(x, 0), width)))))
const eluOp = exponentialUnit("elu"), seluOp = exponentialUnit("selu"), celuOp = exponentialUnit("celu")
/** x above 0, alpha·(exp(x) - 1) below. */
export const elu = (x: Tensor, alpha = 1): Tensor => eluOp(x, { alpha, scale: 1, width: 1 })
/** elu with the constants that keep mean 0 and variance 1 (Klambauer et al., 2017, arXiv:1706.02515). */
export const selu = (x: Tensor): Tensor => seluOp(x, { alpha: 1.6732632423543772, scale: 1.0507009873554805, width: 1 })
/** x above 0, alpha·(exp(x/alpha) - 1) below, so that the derivative is continuous. */
export function celu(x: Tensor, alpha = 1): Tensor {
  if (alpha === 0) fail("value", "celu", "alpha must not be 0")
  return celuOp(x, { alpha, scale: 1, width: alpha })
}

export interface SoftplusOptions {
  /** Sharpness of the bend; 1 unless given. */
  readonly beta?: number
  /** Above beta·x = threshold the result is x itself; 20 unless given. */
  readonly threshold?: number
}
const softplusOp = parametric<{ beta: number; threshold: number }>("softplus", "float", (x, { beta, threshold }) => {
  const z = times(beta, x)
  return e.select(e.gt(z, like(x, threshold)), x, e.div(formula.log1p(e.exp(z)), like(x, beta)))
}, (x, _y, { beta, threshold }) => where(gt(mul(x, beta), threshold), full([], 1, x.dtype), sigmoid(mul(x, beta))))
/** log(1 + exp(beta·x))/beta. */
export function softplus(x: Tensor, { beta = 1, threshold = 20 }: SoftplusOptions = {}): Tensor {
  if (beta === 0) fail("value", "softplus", "beta must not be 0")
  return softplusOp(x, { beta, threshold })
}

// ── Gated by themselves ──

/** x·sigmoid(x), also called swish. */
export const silu = unary("silu", "float", (x) => e.div(x, e.add(one(x), e.exp(e.neg(x)))), (x) => {
  const s = sigmoid(x)
  return mul(s, add(1, mul(x, sub(1, s))))
})
/** x·Φ(x) with Φ the normal distribution, by the error function. */
export const gelu = unary("gelu", "float", (x) => e.mul(times(0.5, x), e.add(one(x), e.erf(times(Math.SQRT1_2, x)))),
  (x) => add(mul(0.5, add(1, erf(mul(x, Math.SQRT1_2)))), mul(mul(x, 1 / Math.sqrt(2 * Math.PI)), exp(mul(-0.5, square(x))))))

const k = Math.sqrt(2 / Math.PI), cubic = 0.044715
/** gelu's approximation 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))), as GPT-2 uses it. */
export const geluTanh = unary("geluTanh", "float", (x) => {
  const u = times(k, e.add(x, times(cubic, e.mul(e.mul(x, x), x))))
  return e.mul(times(0.5, x), e.add(one(x), e.tanh(u)))
}, (x) => {
  // Beyond ±10 tanh is ±1, and x² in the derivative need not overflow.
  const c = clamp(x, -10, 10)
  const t = tanh(mul(k, add(c, mul(cubic, mul(c, square(c))))))
  return add(mul(0.5, add(1, t)), mul(mul(mul(0.5, c), sub(1, square(t))), mul(k, add(1, mul(3 * cubic, square(c))))))
})
/** x·tanh(softplus(x)) (Misra, 2019, arXiv:1908.08681). */
export const mish = unary("mish", "float", (x) => {
  // tanh(log(1+w)) = n/(n+2) with n = w(w+2)
  const w = e.exp(e.min(x, like(x, 20))), n = e.mul(w, e.add(w, like(x, 2)))
  return e.select(e.gt(x, like(x, 20)), x, e.mul(x, e.div(n, e.add(n, like(x, 2)))))
}, (x) => {
  const t = tanh(softplus(x))
  return add(t, mul(mul(x, sigmoid(x)), sub(1, square(t))))
})
/** x·hardsigmoid(x). */
export const hardswish = unary("hardswish", "float", (x) => e.div(e.mul(x, between(e.add(x, like(x, 3)), 0, 6)), like(x, 6)),
  (x) => where(lt(x, -3), full([], 0, x.dtype), where(le(x, 3), add(div(clamp(x, -3, 3), 3), 0.5), 1)))
