import fc from "fast-check"
import * as t from "@thimble/core"
import type { DType, Tensor } from "@thimble/core"
import { couples, singles } from "./corners.ts"
import { every, integers, numbers, pairs, Spec, wide, type Domain, type Values } from "./spec.ts"
import { exact, noGradient, row, ulps, type Bound, type Gradient, type Row } from "./row.ts"

const big = (): Spec => new Spec([1024, 1024], "f32")
const all: readonly Values[] = ["special", "plain", "special", "ties", "large"]
const steps = noGradient("constant between its steps")
const logic = noGradient("the result is no float")

interface Unary {
  readonly types?: readonly DType[]
  readonly bound?: Bound
  readonly domain?: Domain
  /** Where it is differentiated. */
  readonly smooth?: Domain
  readonly gradient?: Gradient
  readonly values?: readonly Values[]
}
const unary = (call: (x: Tensor) => Tensor, { types = every, bound = ulps(4), domain = wide, smooth = domain, gradient = "twice", values = all }: Unary = {}): Row => row({
  args: (g) => g.shape().chain((s) => fc.tuple(g.tensor(s, { types, values, domain, smooth }))),
  call: ([x]) => call(x), bound, gradient, bench: [big()], corners: singles(types).map((x) => [x] as const),
})
/** With a number from a list. */
const withNumber = (call: (x: Tensor, n: number) => Tensor, given: readonly [number, ...number[]], { types = every, bound = ulps(4), domain = wide, smooth = domain, gradient = "twice", values = all }: Unary = {}): Row => row({
  args: (g) => g.shape().chain((s) => fc.tuple(g.tensor(s, { types, values, domain, smooth }), fc.constantFrom(...given))),
  call: ([x, n]) => call(x, n), bound, gradient, bench: [big(), given[0]], corners: singles(types).map((x) => [x, given[0]] as const),
})
interface Binary extends Unary {
  /** Domain of the second operand. */
  readonly second?: Domain
}
/** Operands of any two types, or a tensor and a number. */
const binary = (call: (a: Tensor, b: Tensor | number) => Tensor, { types = every, bound = exact, domain = wide, second = domain, gradient = "twice", values = all }: Binary = {}): Row => row({
  args: (g) => pairs(g).chain(([a, b]) => fc.tuple(g.tensor(a, { types, values, domain }), fc.oneof({ weight: 4, arbitrary: g.tensor(b, { types, values, domain: second }) }, { weight: 1, arbitrary: fc.constantFrom<number>(1, 2, 3, 7) }))),
  call: ([a, b]) => call(a, b), bound, gradient, bench: [big(), big()],
  corners: [...couples(types), ...singles(types.filter(t.isFloat)).flatMap((a) => [[a, 0], [a, -1.5]] as const)],
})

const from = (low: number, high: number, ...avoid: number[]): Domain => ({ low, high, avoid })
const kinks = (...avoid: number[]): Unary => ({ domain: from(-4, 7, ...avoid), gradient: "once" })
const comparison: Binary = { gradient: logic, values: all }
const bits: readonly DType[] = [...integers, "bool"]
const whole: Binary = { types: integers, gradient: logic }

export const elementwise = {
  // arithmetic
  add: binary(t.add), sub: binary(t.sub, { types: numbers }), mul: binary(t.mul), div: binary(t.div, { second: from(-3, 3, 0) }),
  neg: unary(t.neg, { types: numbers, bound: exact }), square: unary(t.square, { types: numbers, bound: exact }),
  reciprocal: unary(t.reciprocal, { bound: exact, smooth: from(0.3, 3) }), abs: unary(t.abs, { types: numbers, bound: exact, ...kinks(0) }),
  sign: unary(t.sign, { types: numbers, bound: exact, gradient: steps }),
  lerp: row({
    args: (g) => pairs(g).chain(([a, b]) => fc.tuple(g.tensor(a), g.tensor(b), g.tensor([], { types: ["f32"], domain: from(0, 1, 0.5) }))),
    call: ([a, b, w]) => t.lerp(a, b, w), bound: exact, gradient: "once", bench: [big(), big(), new Spec([], "f32")],
  }),
  maximum: binary(t.maximum, { gradient: "once" }), minimum: binary(t.minimum, { gradient: "once" }),
  clamp: row({
    args: (g) => g.shape().chain((s) => fc.tuple(g.tensor(s, { types: numbers, values: all, domain: from(-3, 3, -1, 2) }), fc.constantFrom(-1, undefined), fc.constantFrom(2, undefined))),
    call: ([x, low, high]) => t.clamp(x, low, high), bound: exact, gradient: "once", bench: [big(), -1, 2],
    corners: singles(numbers).flatMap((x) => [[x, -1, 2], [x, undefined, 2], [x, -1, undefined]] as const),
  }),
  castTo: row({
    args: (g) => g.shape().chain((s) => fc.tuple(g.tensor(s, { types: every, values: all }), g.gradient ? fc.constant<DType>("f64") : fc.constantFrom(...every))),
    call: ([x, to]) => t.castTo(x, to), bound: exact, gradient: noGradient("to f64 it is the identity; covered by every op of f16"), bench: [big(), "f16"],
    corners: singles(every).flatMap((x) => every.map((to) => [x, to] as const)),
  }),
  where: row({
    args: (g) => pairs(g).chain(([a, b]) => fc.tuple(g.tensor(a, { types: ["bool"] }), g.tensor(a, { types: every, values: all }), g.tensor(b, { types: every, values: all }))),
    call: ([c, a, b]) => t.where(c, a, b), bound: exact, gradient: "once", bench: [new Spec([1024, 1024], "bool"), big(), big()],
    corners: couples(["f32"]).map(([a, b]) => [new Spec(a.shape, "bool"), a, b] as const),
  }),
  // rounding
  floor: unary(t.floor, { types: numbers, bound: exact, gradient: steps }), ceil: unary(t.ceil, { types: numbers, bound: exact, gradient: steps }),
  round: unary(t.round, { types: numbers, bound: exact, gradient: steps }), trunc: unary(t.trunc, { types: numbers, bound: exact, gradient: steps }),
  // comparison and logic
  eq: binary(t.eq, comparison), ne: binary(t.ne, comparison), lt: binary(t.lt, comparison), le: binary(t.le, comparison),
  gt: binary(t.gt, comparison), ge: binary(t.ge, comparison),
  logicalAnd: binary(t.logicalAnd, comparison), logicalOr: binary(t.logicalOr, comparison), logicalXor: binary(t.logicalXor, comparison),
  logicalNot: unary(t.logicalNot, { bound: exact, gradient: logic }), not: unary(t.not, { types: bits, bound: exact, gradient: logic }),
  isNaN: unary(t.isNaN, { bound: exact, gradient: logic }), isInf: unary(t.isInf, { bound: exact, gradient: logic }), isFinite: unary(t.isFinite, { bound: exact, gradient: logic }),
  // integers
  fmod: binary(t.fmod, { types: numbers, second: from(0.5, 3), gradient: "once" }), remainder: binary(t.remainder, { types: numbers, second: from(0.5, 3), gradient: "once" }),
  truncDivide: binary(t.truncDivide, { types: numbers, gradient: steps }), floorDivide: binary(t.floorDivide, { types: numbers, gradient: steps }),
  bitwiseAnd: binary(t.bitwiseAnd, { types: bits, gradient: logic }), bitwiseOr: binary(t.bitwiseOr, { types: bits, gradient: logic }),
  bitwiseXor: binary(t.bitwiseXor, { types: bits, gradient: logic }), bitwiseNot: unary(t.bitwiseNot, { types: bits, bound: exact, gradient: logic }),
  leftShift: binary(t.leftShift, whole), rightShift: binary(t.rightShift, whole),
  // exponential and logarithm
  exp: unary(t.exp), expm1: unary(t.expm1, { bound: ulps(8) }), log: unary(t.log, { domain: from(0.2, 4) }), log1p: unary(t.log1p, { domain: from(-0.7, 4), bound: ulps(8) }),
  log2: unary(t.log2, { domain: from(0.2, 4) }), log10: unary(t.log10, { domain: from(0.2, 4) }),
  sqrt: unary(t.sqrt, { domain: from(0.1, 4), bound: exact }), rsqrt: unary(t.rsqrt, { domain: from(0.1, 4), bound: exact }),
  pow: row({
    args: (g) => pairs(g).chain(([a, b]) => fc.tuple(g.tensor(a, { types: every, values: all, domain: from(0.2, 3) }), fc.oneof(g.tensor(b, { values: all }), fc.constantFrom<number>(0, 1, 2, 3, -1, 0.5, -0.5, 2.5)))),
    call: ([a, b]) => t.pow(a, b), bound: ulps(4), gradient: "twice", bench: [big(), big()], corners: couples(["f32"]),
  }),
  // circular and hyperbolic
  sin: unary(t.sin), cos: unary(t.cos), tan: unary(t.tan, { smooth: from(-1, 1), bound: ulps(8) }), asin: unary(t.asin, { domain: from(-0.9, 0.9), bound: ulps(8) }),
  acos: unary(t.acos, { domain: from(-0.9, 0.9), bound: ulps(8) }), atan: unary(t.atan), atan2: binary(t.atan2, { bound: ulps(4), domain: from(0.2, 3), second: from(-3, -0.2) }),
  sinh: unary(t.sinh, { bound: ulps(8) }), cosh: unary(t.cosh, { bound: ulps(8) }), tanh: unary(t.tanh), asinh: unary(t.asinh, { bound: ulps(8) }),
  acosh: unary(t.acosh, { domain: from(1.2, 4), bound: ulps(8) }), atanh: unary(t.atanh, { domain: from(-0.9, 0.9), bound: ulps(8) }), erf: unary(t.erf),
  // activations
  sigmoid: unary(t.sigmoid), logSigmoid: unary(t.logSigmoid, { bound: ulps(8) }), softsign: unary(t.softsign, { ...kinks(0) }), hardsigmoid: unary(t.hardsigmoid, kinks(-3, 3)),
  relu: unary(t.relu, { types: numbers, bound: exact, ...kinks(0) }), relu6: unary(t.relu6, { types: numbers, bound: exact, ...kinks(0, 6) }),
  hardtanh: unary((x) => t.hardtanh(x, -1.5, 0.5), { bound: exact, ...kinks(-1.5, 0.5) }), leakyRelu: withNumber(t.leakyRelu, [0.01, -0.5], kinks(0)),
  elu: withNumber(t.elu, [1, 0.7], { bound: ulps(8), ...kinks(0) }), selu: unary(t.selu, { bound: ulps(8), ...kinks(0) }), celu: withNumber(t.celu, [1, 1.3], { bound: ulps(8), ...kinks(0) }),
  softplus: row({
    args: (g) => g.shape().chain((s) => fc.tuple(g.tensor(s, { types: every, values: all }), fc.constantFrom({}, { beta: 2, threshold: 20 }))),
    call: ([x, options]) => t.softplus(x, options), bound: ulps(8), gradient: "twice", bench: [big(), {}], corners: singles(["f32"]).map((x) => [x, {}] as const),
  }),
  silu: unary(t.silu, { bound: ulps(8) }), gelu: unary(t.gelu, { bound: { scale: 1e-6 } }), geluTanh: unary(t.geluTanh, { bound: { scale: 1e-6 } }),
  mish: unary(t.mish, { bound: ulps(8) }), hardswish: unary(t.hardswish, kinks(-3, 3)),
} satisfies Record<string, Row>
