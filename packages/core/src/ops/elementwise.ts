import { convert } from "../expr.ts"
import * as e from "../expr.ts"
import { checkDType, isFloat, isInteger, promote, scalarOf, type DType } from "../dtype.ts"
import { fail } from "../errors.ts"
import { broadcastShapes } from "../shape.ts"
import { apply, type Op, type Tensor } from "../tensor.ts"
import { full } from "./create.ts"
import { expand } from "./movement.ts"

/** Operands of elementwise functions; a number takes the dtype of its partner (f32 if a fraction meets integers). */
export type Input = Tensor | number | boolean

const castOp: Op<DType> = {
  name: "cast",
  cheap: true,
  meaning: { scalar: ([x], node, to) => convert(x!, node.sources[0]!.dtype, to) },
  result: ([x], dtype) => ({ shape: x!.shape, dtype }),
  vjp: (dy, _out, [x]) => [isFloat(x!.dtype) ? castTo(dy, x!.dtype) : null],
}
/**
 * Converts the dtype. Floats round to nearest even; float → integer truncates toward zero and saturates at 32 bits
 * (NaN → 0), narrower integers then wrap; anything but 0 is true.
 */
export function castTo(x: Tensor, dtype: DType): Tensor {
  return x.dtype === checkDType("cast", dtype) ? x : apply(castOp, [x], dtype)
}

function asTensor(op: string, x: Input, partner: Tensor | undefined): Tensor {
  if (typeof x === "object") return x
  if (typeof x !== "number" && typeof x !== "boolean") fail("value", op, `needs a tensor or a number, got ${typeof x}`)
  if (partner === undefined) return full([], Number(x), typeof x === "boolean" ? "bool" : "f32")
  const fits = typeof x === "boolean" ? partner.dtype : isFloat(partner.dtype) || (Number.isInteger(x) && partner.dtype !== "bool") ? partner.dtype : Number.isInteger(x) ? "i32" : "f32"
  return full([], Number(x), fits)
}

/** Brings operands to one dtype (unless told otherwise) and one shape. */
export function match(op: string, inputs: readonly Input[], sameType = true): Tensor[] {
  const partner = inputs.find((x): x is Tensor => typeof x === "object")
  let list = inputs.map((x) => asTensor(op, x, partner))
  if (sameType) {
    const dtype = list.map((t) => t.dtype).reduce(promote)
    list = list.map((t) => castTo(t, dtype))
  }
  const shape = list.map((t) => t.shape).reduce((a, b) => broadcastShapes(op, a, b))
  return list.map((t) => expand(t, shape))
}

type Types = "float" | "number" | "integer" | "any"
const allowed: Record<Types, (d: DType) => boolean> = {
  float: isFloat,
  number: (d) => d !== "bool",
  integer: (d) => isInteger(d),
  any: () => true,
}
const remedy: Record<Types, string> = { float: "cast to f32 first", number: "cast it to i32 or f32 first", integer: "cast it to an integer type", any: "" }

function checkType(op: string, types: Types, t: Tensor): void {
  if (!allowed[types](t.dtype)) fail("dtype", op, `does not take ${t.dtype}`, remedy[types])
}

/**
 * Makes an elementwise function of one tensor from its expression and its derivative. A `float` function takes integers
 * and bool too, as f32.
 */
export function unary(name: string, types: Types, scalar: (x: e.Expr) => e.Expr, derivative?: (x: Tensor, y: Tensor) => Tensor, dtype?: DType): (x: Tensor) => Tensor {
  const op: Op<undefined> = {
    name,
    meaning: { scalar: ([x]) => scalar(x!) },
    result: ([x]) => {
      checkType(name, types, x!)
      return { shape: x!.shape, dtype: dtype ?? x!.dtype }
    },
    vjp: (dy, out, [x]) => [derivative && isFloat(x!.dtype) ? mul(dy, derivative(x!, out)) : null],
  }
  return (x) => apply(op, [types === "float" && !isFloat(x.dtype) ? castTo(x, "f32") : x], undefined)
}

/** Makes an elementwise function of two tensors, which broadcast and promote. */
export function binary(name: string, types: Types, scalar: (a: e.Expr, b: e.Expr) => e.Expr, vjp?: (dy: Tensor, a: Tensor, b: Tensor, out: Tensor) => readonly [Tensor | null, Tensor | null], dtype?: DType): (a: Input, b: Input) => Tensor {
  const op: Op<undefined> = {
    name,
    meaning: { scalar: ([a, b]) => scalar(a!, b!) },
    result: ([a]) => {
      checkType(name, types, a!)
      return { shape: a!.shape, dtype: dtype ?? a!.dtype }
    },
    vjp: (dy, out, [a, b]) => [...(vjp?.(dy, a!, b!, out) ?? [null, null])],
  }
  return (a, b) => {
    let pair = match(name, [a, b])
    if (types === "float" && !isFloat(pair[0]!.dtype)) pair = pair.map((t) => castTo(t, "f32"))
    return apply(op, pair, undefined)
  }
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
/** a where the condition holds, b elsewhere; all three broadcast. */
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
export const neg = unary("neg", "number", e.neg, () => full([], -1))

// ── Comparison and logic ──

const compared = (f: (a: e.Expr, b: e.Expr) => e.Expr) => f
export const eq = binary("eq", "any", compared(e.eq), undefined, "bool")
export const ne = binary("ne", "any", compared(e.ne), undefined, "bool")
export const lt = binary("lt", "any", compared(e.lt), undefined, "bool")
export const le = binary("le", "any", compared(e.le), undefined, "bool")
export const gt = binary("gt", "any", compared(e.gt), undefined, "bool")
export const ge = binary("ge", "any", compared(e.ge), undefined, "bool")
/** Logical not of bool, bitwise not of integers. */
export const not = unary("not", "any", (x) => (x.type === "f32" || x.type === "f64" ? fail("dtype", "not", "does not take floats") : e.not(x)))

// ── Functions of one float ──

export const exp = unary("exp", "float", e.exp, (_x, y) => y)
export const log = unary("log", "float", e.log, (x) => div(1, x))
export const sqrt = unary("sqrt", "float", e.sqrt, (_x, y) => div(0.5, y))
export const tanh = unary("tanh", "float", e.tanh, (_x, y) => sub(1, mul(y, y)))
export const sigmoid = unary("sigmoid", "float", (x) => {
  const one = e.constant(x.type, 1)
  return e.div(one, e.add(one, e.exp(e.neg(x))))
}, (_x, y) => mul(y, sub(1, y)))
export const abs = unary("abs", "number", e.abs, (x) => sign(x))
/** -1, 0 or 1; NaN stays NaN. */
export const sign = unary("sign", "number", (x) => {
  const zero = e.constant(x.type, 0)
  const up = e.select(e.gt(x, zero), e.constant(x.type, 1), x)
  return x.type === "u32" ? up : e.select(e.lt(x, zero), e.constant(x.type, -1), up)
}, (x) => full(x.shape, 0, x.dtype))
export const relu = unary("relu", "number", (x) => e.max(x, e.constant(x.type, 0)), (x) => castTo(gt(x, 0), x.dtype))

/** The scalar type a tensor computes in, for ops that build constants. */
export const scalarType = (t: Tensor): ReturnType<typeof scalarOf> => scalarOf(t.dtype)
