import {
  abs, add, asin, atan, atan2, bitwiseAnd, bitwiseNot, bitwiseOr, bitwiseXor, ceil, celu, clamp, cos, div, elu, eq, erf, exp, expm1, floor, floorDivide,
  fmod, ge, gelu, geluTanh, gt, hardsigmoid, hardswish, hardtanh, isFinite, isNaN, le, leakyRelu, leftShift, log, log1p, log2, logSigmoid, lt, maximum,
  minimum, mish, mul, ne, neg, pow, reciprocal, relu, relu6, remainder, rightShift, round, rsqrt, selu, sigmoid, sign, silu, sin, sinh, softplus, softsign,
  sqrt, square, sub, tan, tanh, trunc, truncDivide, where, type Tensor,
} from "@thimble/core"
import type { Inputs, Row } from "./case.ts"

const one = (f: (x: Tensor) => Tensor) => (inputs: Inputs): Tensor => f(Object.values(inputs)[0]!)
const two = (f: (a: Tensor, b: Tensor) => Tensor) => (inputs: Inputs): Tensor => f(Object.values(inputs)[0]!, Object.values(inputs)[1]!)

export const elementwise = {
  add: two(add), sub: two(sub), mul: two(mul), div: two(div), maximum: two(maximum), minimum: two(minimum), atan2: two(atan2), pow: two(pow),
  pow_scalar: ({ a }, { exponent }: { exponent: number }) => pow(a, exponent),

  int_add: two(add), int_sub: two(sub), int_mul_small: ({ a, b }) => mul(remainder(a, 1000), b), int_true_div: two(div),
  int_div_trunc: two(truncDivide), int_div_floor: two(floorDivide), int_remainder: two(remainder), int_fmod: two(fmod),
  remainder: two(remainder), fmod: two(fmod), floor_divide: two(floorDivide), trunc_divide: two(truncDivide),
  bitwise_and: two(bitwiseAnd), bitwise_or: two(bitwiseOr), bitwise_xor: two(bitwiseXor), bitwise_not: one(bitwiseNot),
  left_shift: two(leftShift), right_shift: two(rightShift),

  eq: two(eq), ne: two(ne), lt: two(lt), le: two(le), gt: two(gt), ge: two(ge), isnan: one(isNaN), isfinite: one(isFinite),
  where: ({ c, a, b }) => where(c, a, b),

  neg: one(neg), abs: one(abs), sign: one(sign), reciprocal: one(reciprocal), square: one(square), sqrt: one(sqrt), rsqrt: one(rsqrt),
  exp: one(exp), expm1: one(expm1), log: one(log), log1p: one(log1p), log2: one(log2), erf: one(erf),
  sin: one(sin), cos: one(cos), tan: one(tan), asin: one(asin), atan: one(atan), sinh: one(sinh), tanh: one(tanh),
  floor: one(floor), ceil: one(ceil), round: one(round), trunc: one(trunc),
  clamp: ({ x }, { min, max }: { min: number | null; max: number | null }) => clamp(x, min ?? undefined, max ?? undefined),

  relu: one(relu), relu6: one(relu6), leaky_relu: one(leakyRelu), elu: one(elu), selu: one(selu), celu: ({ x }) => celu(x, 1.3), hardtanh: one(hardtanh),
  softplus: one(softplus), softplus_param: ({ x }, options: { beta: number; threshold: number }) => softplus(x, options),
  sigmoid: one(sigmoid), logsigmoid: one(logSigmoid), softsign: one(softsign), hardsigmoid: one(hardsigmoid),
  silu: one(silu), gelu: one(gelu), gelu_tanh: one(geluTanh), mish: one(mish), hardswish: one(hardswish),
} satisfies Record<string, Row>
