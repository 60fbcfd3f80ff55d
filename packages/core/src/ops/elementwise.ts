import * as e from "../expr.ts"
import { checkDType, isFloat, isInteger, limitsOf, promote, type DType } from "../dtype.ts"
import { fail } from "../errors.ts"
import { apply, checkTensor, type Op, type Tensor } from "../tensor.ts"
import { asTensor, binary, like, match, parametric, unary, type Input } from "./define.ts"

export type { Input }

const castOp: Op<DType> = {
  name: "cast",
  cheap: true,
  meaning: { scalar: ([x], node, to) => e.convert(x!, node.sources[0]!.dtype, to) },
  result: ([x], dtype) => ({ shape: x!.shape, dtype }),
  vjp: (dy, _out, [x]) => [isFloat(x!.dtype) ? castTo(dy, x!.dtype) : null],
}
/**
 * Converts the dtype. Floats round to nearest even; float → integer truncates toward zero and saturates at 32 bits
 * (NaN → 0), narrower integers then wrap; anything but 0 is true.
 */
export function castTo(x: Tensor, dtype: DType): Tensor {
  checkTensor("cast", x)
  return x.dtype === checkDType("cast", dtype) ? x : apply(castOp, [x], dtype)
}

const whereOp: Op<undefined> = {
  name: "where",
  meaning: { scalar: ([c, a, b]) => e.select(c!, a!, b!) },
  result: ([c, a]) => {
    if (c!.dtype !== "bool") fail("dtype", "where", `the condition must be bool, got ${c!.dtype}`, "compare it with something")
    return { shape: a!.shape, dtype: a!.dtype }
  },
  vjp: (dy, _out, [c]) => [null, where(c!, dy, 0), where(c!, 0, dy)],
}
/** a where the condition holds, b elsewhere; all three broadcast. The value not taken gets no gradient, not even a NaN. */
export function where(condition: Tensor, a: Input, b: Input): Tensor {
  const partner = typeof a === "object" ? a : typeof b === "object" ? b : undefined
  const x = asTensor("where", a, partner), y = asTensor("where", b, partner)
  const dtype = promote(x.dtype, y.dtype)
  return apply(whereOp, match("where", [condition, castTo(x, dtype), castTo(y, dtype)], false), undefined)
}

// ── Arithmetic ──

export const add = binary("add", "any", (a, b) => (a.type === "bool" ? e.or(a, b) : e.add(a, b)), (dy) => [dy, dy])
export const sub = binary("sub", "number", e.sub, (dy) => [dy, neg(dy)])
export const mul = binary("mul", "any", (a, b) => (a.type === "bool" ? e.and(a, b) : e.mul(a, b)), (dy, a, b) => [mul(dy, b), mul(dy, a)])
/** True division: integers are divided as f32. */
export const div = binary("div", "float", e.div, (dy, _a, b, out) => [div(dy, b), neg(div(mul(dy, out), b))])
export const neg = unary("neg", "number", e.neg, () => -1)
export const square = unary("square", "number", (x) => e.mul(x, x), (x) => mul(2, x))
/** 1/x; of integers, as f32. */
export const reciprocal = unary("reciprocal", "float", (x) => e.div(like(x, 1), x), (_x, y) => neg(square(y)))
export const abs = unary("abs", "number", e.abs, (x) => sign(x))
/** -1, 0 or 1; of NaN 0, as in torch. */
export const sign = unary("sign", "number", (x) => {
  const zero = like(x, 0)
  const down = x.type === "u32" ? zero : e.select(e.lt(x, zero), like(x, -1), zero)
  return e.select(e.gt(x, zero), like(x, 1), down)
})
/** a + weight·(b - a), from the nearer end, so that both ends are exact. */
export function lerp(a: Tensor, b: Tensor, weight: Input): Tensor {
  const step = sub(b, a), w = asTensor("lerp", weight, step)
  return where(lt(abs(w), 0.5), add(a, mul(w, step)), sub(b, mul(sub(1, w), step)))
}

// ── Comparison and logic ──

export const eq = binary("eq", "any", e.eq, undefined, "bool")
export const ne = binary("ne", "any", e.ne, undefined, "bool")
export const lt = binary("lt", "any", e.lt, undefined, "bool")
export const le = binary("le", "any", e.le, undefined, "bool")
export const gt = binary("gt", "any", e.gt, undefined, "bool")
export const ge = binary("ge", "any", e.ge, undefined, "bool")
/** Logical not of bool, bitwise not of integers. */
export const not = unary("not", "bits", e.not)

const truth = (x: Input): Input => (typeof x === "object" ? castTo(x, "bool") : Boolean(x))
const logical = (name: string, scalar: (a: e.Expr, b: e.Expr) => e.Expr): ((a: Input, b: Input) => Tensor) => {
  const op = binary(name, "any", scalar)
  return (a, b) => op(truth(a), truth(b))
}
/** Both are not 0; the result is bool. */
export const logicalAnd = logical("logicalAnd", e.and)
/** One of them is not 0; the result is bool. */
export const logicalOr = logical("logicalOr", e.or)
/** Exactly one of them is not 0; the result is bool. */
export const logicalXor = logical("logicalXor", e.xor)
/** The element is 0; the result is bool. */
export const logicalNot = (x: Tensor): Tensor => not(castTo(x, "bool"))

const isReal = (x: e.Expr): boolean => x.type === "f32" || x.type === "f64"
export const isNaN = unary("isNaN", "any", (x) => (isReal(x) ? e.ne(x, x) : e.constant("bool", 0)), undefined, "bool")
export const isInf = unary("isInf", "any", (x) => (isReal(x) ? e.eq(e.abs(x), like(x, Infinity)) : e.constant("bool", 0)), undefined, "bool")
/** Neither infinite nor NaN. */
export const isFinite = unary("isFinite", "any", (x) => (isReal(x) ? e.lt(e.abs(x), like(x, Infinity)) : e.constant("bool", 1)), undefined, "bool")

// ── Bounds and rounding ──

/** The gradient of a choice between two: all to the one taken, half to each of two equal ones. */
const chosen = (dy: Tensor, lost: Tensor, tie: Tensor): Tensor => where(lost, 0, where(tie, mul(dy, 0.5), dy))
/** The larger of each pair; NaN wins; equal ones share the gradient. */
export const maximum = binary("maximum", "any", (a, b) => (a.type === "bool" ? e.or(a, b) : e.max(a, b)),
  (dy, a, b) => [chosen(dy, lt(a, b), eq(a, b)), chosen(dy, gt(a, b), eq(a, b))])
/** The smaller of each pair; NaN wins; equal ones share the gradient. */
export const minimum = binary("minimum", "any", (a, b) => (a.type === "bool" ? e.and(a, b) : e.min(a, b)),
  (dy, a, b) => [chosen(dy, gt(a, b), eq(a, b)), chosen(dy, lt(a, b), eq(a, b))])

const clampOp = parametric<{ min: number; max: number }>("clamp", "number",
  (x, { min, max }) => {
    const low = min > -Infinity ? e.max(x, like(x, min)) : x
    return max < Infinity ? e.min(low, like(x, max)) : low
  },
  (x, _y, { min, max }) => castTo(logicalAnd(ge(x, min), le(x, max)), x.dtype))
/**
 * Holds x between two numbers; leave one out (undefined) for no bound on its side. NaN stays NaN. The gradient passes at
 * the bounds themselves. With min above max everything becomes max.
 */
export function clamp(x: Tensor, min = -Infinity, max = Infinity): Tensor {
  for (const bound of [min, max]) {
    if (Number.isNaN(bound)) fail("value", "clamp", "a bound is NaN")
    if (isInteger(x.dtype) && Number.isFinite(bound) && !Number.isInteger(bound))
      fail("value", "clamp", `bound ${bound} is not a whole number, and x is ${x.dtype}`, "round it, or cast x to f32")
  }
  if (!isInteger(x.dtype)) return clampOp(x, { min, max })
  const [low, high] = limitsOf(x.dtype)
  return clampOp(x, { min: min <= low ? -Infinity : Math.min(min, high), max: max >= high ? Infinity : Math.max(max, low) })
}

/** Largest whole number not above x. */
export const floor = unary("floor", "number", e.floor)
/** Smallest whole number not below x. */
export const ceil = unary("ceil", "number", e.ceil)
/** Nearest whole number, halves to the even one. */
export const round = unary("round", "number", e.round)
/** Drops the fraction. */
export const trunc = unary("trunc", "number", e.trunc)
