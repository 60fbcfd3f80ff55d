import * as e from "../expr.ts"
import { isFloat, isInteger, limitsOf, promote, type DType } from "../dtype.ts"
import { fail } from "../errors.ts"
import { broadcastShapes } from "../shape.ts"
import { apply, checkTensor, Tensor, type Op } from "../tensor.ts"
import { full } from "./create.ts"
import { castTo, mul } from "./elementwise.ts"
import { expand } from "./movement.ts"

// How elementwise functions are made; the functions themselves are in elementwise, math, activation and integer.

/** Operands of elementwise functions; a number takes the dtype of its partner, or a wider one if it does not fit (f32 for fractions). */
export type Input = Tensor | number | boolean

export function asTensor(op: string, x: Input, partner: Tensor | undefined): Tensor {
  if (typeof x === "object") {
    checkTensor(op, x, "make one with tensor(…)")
    return x
  }
  if (typeof x !== "number" && typeof x !== "boolean") fail("value", op, `needs a tensor or a number, got ${typeof x}`)
  return full([], Number(x), typeof x === "boolean" ? (partner?.dtype ?? "bool") : typeBeside(op, x, partner?.dtype ?? "f32"))
}
function typeBeside(op: string, x: number, partner: DType): DType {
  if (isFloat(partner)) return partner
  if (!Number.isInteger(x)) return "f32"
  const fits = (dtype: DType): boolean => isInteger(dtype) && x >= limitsOf(dtype)[0] && x <= limitsOf(dtype)[1]
  return fits(partner) ? partner : fits("i32") ? "i32" : fail("value", op, `${x} does not fit ${partner}`, "cast the tensor to f32 or f64")
}

/** Brings operands to one dtype (unless told otherwise) and one shape. */
export function match(op: string, inputs: readonly Input[], sameType = true): Tensor[] {
  const partner = inputs.find((x): x is Tensor => x instanceof Tensor)
  const list = inputs.map((x) => asTensor(op, x, partner))
  let { dtype, shape } = list[0]!
  for (let i = 1; i < list.length; i++) {
    dtype = promote(dtype, list[i]!.dtype)
    shape = broadcastShapes(op, shape, list[i]!.shape)
  }
  return list.map((t) => expand(sameType ? castTo(t, dtype) : t, shape))
}

/** What a function takes: `float` takes integers and bool too, as f32; `number` is anything but bool; `bits` anything but floats. */
export type Types = "float" | "number" | "integer" | "bits" | "any"
const allowed: Record<Types, (d: DType) => boolean> = {
  float: isFloat,
  number: (d) => d !== "bool",
  integer: isInteger,
  bits: (d) => !isFloat(d),
  any: () => true,
}
const remedy: Record<Types, string> = {
  float: "cast to f32 first", number: "cast it to i32 or f32 first", integer: "cast it to an integer type", bits: "compare it, or cast it to an integer type", any: "",
}

function checkType(op: string, types: Types, t: Tensor): void {
  if (!allowed[types](t.dtype)) fail("dtype", op, `does not take ${t.dtype}`, remedy[types])
}
const asFloat = (types: Types, x: Tensor): Tensor => (types === "float" && !isFloat(x.dtype) ? castTo(x, "f32") : x)

/**
 * Makes an elementwise function of one tensor and some numbers, which become constants of its expression. The
 * derivative, in tensors, is multiplied by the gradient of the result; without one no gradient flows.
 */
export function parametric<A>(
  name: string, types: Types, scalar: (x: e.Expr, attrs: A) => e.Expr, derivative?: (x: Tensor, y: Tensor, attrs: A) => Input, dtype?: DType,
): (x: Tensor, attrs: A) => Tensor {
  const op: Op<A> = {
    name,
    meaning: { scalar: ([x], _node, attrs) => scalar(x!, attrs) },
    result: ([x]) => {
      checkType(name, types, x!)
      return { shape: x!.shape, dtype: dtype ?? x!.dtype }
    },
    vjp: (dy, out, [x], attrs) => [derivative && isFloat(x!.dtype) ? mul(dy, derivative(x!, out, attrs)) : null],
  }
  return (x, attrs) => {
    checkTensor(name, x)
    return apply(op, [asFloat(types, x)], attrs)
  }
}

/** Makes an elementwise function of one tensor from its expression and its derivative. */
export function unary(
  name: string, types: Types, scalar: (x: e.Expr) => e.Expr, derivative?: (x: Tensor, y: Tensor) => Input, dtype?: DType,
): (x: Tensor) => Tensor {
  const make = parametric<undefined>(name, types, scalar, derivative, dtype)
  return (x) => make(x, undefined)
}

/** Makes an elementwise function of two tensors, which broadcast and promote. */
export function binary(
  name: string, types: Types, scalar: (a: e.Expr, b: e.Expr) => e.Expr,
  vjp?: (dy: Tensor, a: Tensor, b: Tensor, out: Tensor) => readonly [Tensor | null, Tensor | null], dtype?: DType,
): (a: Input, b: Input) => Tensor {
  const op: Op<undefined> = {
    name,
    meaning: { scalar: ([a, b]) => scalar(a!, b!) },
    result: ([a]) => {
      checkType(name, types, a!)
      return { shape: a!.shape, dtype: dtype ?? a!.dtype }
    },
    vjp: (dy, out, [a, b]) => [...(vjp?.(dy, a!, b!, out) ?? [null, null])],
  }
  return (a, b) => apply(op, match(name, [a, b]).map((t) => asFloat(types, t)), undefined)
}

/** A constant of the type of x. */
export const like = (x: e.Expr, value: number): e.Expr => e.constant(x.type, value)
