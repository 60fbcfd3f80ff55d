import { bytesOf, dtypes, isFloat, isInteger, limitsOf, scalarOf, type DType, type Scalar } from "./dtype.ts"
import { fail } from "./errors.ts"
import { intern, noSources, type Expr, type ExprOp } from "./intern.ts"
import { constant, int, integerDiv, integerProduct, integerRem, integerSum, integral, isConst, bounded, within } from "./sum.ts"

export { alphabet, freshExprs, type Expr, type ExprOp } from "./intern.ts"
export { constant, int, sumOf, type Sum } from "./sum.ts"

/** Coordinate along axis `axis` of a kernel, 0 … size-1. */
export function index(axis: number, size: number): Expr {
  return size <= 1 ? int(0) : intern("index", "i32", noSources, axis, undefined, 0, size - 1)
}
/** The run-time scalar number `slot` of a kernel. */
export const scalar = (type: Scalar, slot: number): Expr => intern("scalar", type, noSources, slot)
/** What a reduction or template has accumulated, or the second of two; only in epilogues. */
export const acc = (type: Scalar, which: 0 | 1 = 0): Expr => intern("acc", type, noSources, which)

/** Reads element `at` (i32, in elements) of parameter `parameter`, stored as `dtype`. */
export function load(parameter: number, dtype: DType, at: Expr): Expr {
  if (bytesOf(dtype) >= 4 || !isInteger(dtype)) return intern("load", scalarOf(dtype), [at], parameter, dtype)
  const [low, high] = limitsOf(dtype)
  return intern("load", scalarOf(dtype), [at], parameter, dtype, low, high)
}

function checkTypes(op: string, a: Expr, b: Expr): void {
  if (a.type !== b.type) fail("internal", op, `operand types differ, ${a.type} and ${b.type}`)
}

// ── Constructors, one per letter of the alphabet ──

const unary = (op: ExprOp) => (a: Expr): Expr => intern(op, a.type, [a])
export const sqrt = unary("sqrt"), exp = unary("exp"), log = unary("log"), sin = unary("sin"), cos = unary("cos")
export const atan = unary("atan"), tanh = unary("tanh"), erf = unary("erf")
export const neg = (a: Expr): Expr => (integral(a.type) ? integerSum(constant(a.type, 0), a, -1) : intern("neg", a.type, [a]))
export const abs = (a: Expr): Expr => (a.type === "u32" ? a : intern("abs", a.type, [a]))
const rounding = (op: ExprOp) => (a: Expr): Expr => (integral(a.type) ? a : intern(op, a.type, [a]))
export const floor = rounding("floor"), ceil = rounding("ceil"), round = rounding("round"), trunc = rounding("trunc")
export const not = (a: Expr): Expr => (isConst(a) && a.type === "bool" ? constant("bool", a.value ? 0 : 1) : intern("not", a.type, [a]))

export function add(a: Expr, b: Expr): Expr {
  checkTypes("add", a, b)
  return integral(a.type) ? integerSum(a, b, 1) : intern("add", a.type, [a, b])
}
export function sub(a: Expr, b: Expr): Expr {
  checkTypes("sub", a, b)
  return integral(a.type) ? integerSum(a, b, -1) : intern("sub", a.type, [a, b])
}
export function mul(a: Expr, b: Expr): Expr {
  checkTypes("mul", a, b)
  if (isConst(a) && !isConst(b)) return mul(b, a)
  if (integral(a.type)) return integerProduct(a, b)
  if (isConst(b, 1)) return a
  return intern("mul", a.type, [a, b])
}
export function div(a: Expr, b: Expr): Expr {
  checkTypes("div", a, b)
  if (integral(a.type)) return integerDiv(a, b)
  return isConst(b, 1) ? a : intern("div", a.type, [a, b])
}
export function rem(a: Expr, b: Expr): Expr {
  checkTypes("rem", a, b)
  return integral(a.type) ? integerRem(a, b) : intern("rem", a.type, [a, b])
}
export function min(a: Expr, b: Expr): Expr {
  checkTypes("min", a, b)
  if (integral(a.type) && a.high <= b.low) return a
  if (integral(a.type) && b.high <= a.low) return b
  return intern("min", a.type, [a, b], 0, undefined, Math.min(a.low, b.low), Math.min(a.high, b.high))
}
export function max(a: Expr, b: Expr): Expr {
  checkTypes("max", a, b)
  if (integral(a.type) && a.low >= b.high) return a
  if (integral(a.type) && b.low >= a.high) return b
  return intern("max", a.type, [a, b], 0, undefined, Math.max(a.low, b.low), Math.max(a.high, b.high))
}
export function pow(a: Expr, b: Expr): Expr {
  checkTypes("pow", a, b)
  return intern("pow", a.type, [a, b])
}

const bitwise = (op: "and" | "or" | "xor") => (a: Expr, b: Expr): Expr => {
  checkTypes(op, a, b)
  if (isConst(a) && !isConst(b)) [a, b] = [b, a]
  if (op === "and" && isConst(b) && b.value >= 0) {
    if (a.type === "bool") return b.value ? a : b
    // x & (2ᵏ-1) of a non-negative x is x rem 2ᵏ, which index arithmetic can simplify.
    if (Number.isInteger(Math.log2(b.value + 1)) && a.low >= 0 && a.high < 2 ** 31) return integerRem(a, constant(a.type, b.value + 1))
    return intern(op, a.type, [a, b], 0, undefined, 0, a.low >= 0 ? Math.min(a.high, b.value) : b.value)
  }
  if (op === "or" && a.type === "bool" && isConst(b)) return b.value ? b : a
  if (op === "or" && isConst(b, 0)) return a
  const positive = op !== "and" && integral(a.type) && a.low >= 0 && b.low >= 0
  return positive ? intern(op, a.type, [a, b], 0, undefined, 0, bitsBelow(Math.max(a.high, b.high))) : intern(op, a.type, [a, b])
}
/** The largest number of as many bits. */
const bitsBelow = (n: number): number => (n < Infinity ? 2 ** Math.ceil(Math.log2(n + 1)) - 1 : n)
export const and = bitwise("and"), or = bitwise("or"), xor = bitwise("xor")

export function shl(a: Expr, b: Expr): Expr {
  checkTypes("shl", a, b)
  if (isConst(b, 0)) return a
  if (!isConst(b) || !bounded(a)) return intern("shl", a.type, [a, b])
  const times = 2 ** (b.value & 31)
  return within("shl", a.type, a, b, a.low * times, a.high * times)
}
export function shr(a: Expr, b: Expr): Expr {
  checkTypes("shr", a, b)
  if (isConst(b) && b.value >= 0 && b.value < 31 && a.low >= 0 && a.high < 2 ** 31) return integerDiv(a, constant(a.type, 2 ** b.value))
  return a.low >= 0 && a.high < 2 ** 31 ? intern("shr", a.type, [a, b], 0, undefined, 0, a.high) : intern("shr", a.type, [a, b])
}

const compare = (op: "lt" | "le" | "eq") => (a: Expr, b: Expr): Expr => {
  checkTypes(op, a, b)
  if (integral(a.type)) {
    if (a.low === a.high && b.low === b.high) return constant("bool", Number(op === "lt" ? a.low < b.low : op === "le" ? a.low <= b.low : a.low === b.low))
    if (op === "lt" && a.high < b.low || op === "le" && a.high <= b.low) return constant("bool", 1)
    if (op === "lt" && a.low >= b.high || op === "le" && a.low > b.high || op === "eq" && (a.low > b.high || a.high < b.low)) return constant("bool", 0)
  }
  return intern(op, "bool", [a, b])
}
export const lt = compare("lt"), le = compare("le"), eq = compare("eq")
export const gt = (a: Expr, b: Expr): Expr => lt(b, a)
export const ge = (a: Expr, b: Expr): Expr => le(b, a)
export const ne = (a: Expr, b: Expr): Expr => not(eq(a, b))

export function select(condition: Expr, yes: Expr, no: Expr): Expr {
  checkTypes("select", yes, no)
  if (condition.op === "const") return condition.value ? yes : no
  return yes === no ? yes : intern("select", yes.type, [condition, yes, no], 0, undefined, Math.min(yes.low, no.low), Math.max(yes.high, no.high))
}

/** Value conversion between scalar types. */
export function cast(a: Expr, to: Scalar): Expr {
  if (a.type === to) return a
  if (isConst(a)) return constant(to, to === "bool" ? Number(a.value !== 0) : integral(to) && !integral(a.type) ? saturate(to, a.value) : a.value)
  if (integral(a.type) && integral(to) && a.low >= 0 && a.high < 2 ** 31) return intern("cast", to, [a], 0, undefined, a.low, a.high)
  return a.type === "bool" ? intern("cast", to, [a], 0, undefined, 0, 1) : intern("cast", to, [a])
}
/** Reinterprets 32 bits as another 32-bit type. */
export const bitcast = (a: Expr, to: Scalar): Expr => (a.type === to ? a : intern("bitcast", to, [a]))

/** Float → 32-bit integer: truncation toward zero, saturating; NaN → 0. */
export function saturate(to: "i32" | "u32" | Scalar, x: number): number {
  if (Number.isNaN(x)) return 0
  return to === "u32" ? Math.min(Math.max(Math.trunc(x), 0), 4294967295) : Math.min(Math.max(Math.trunc(x), -2147483648), 2147483647)
}

/** Narrows a value to what `dtype` can hold; the identity for 32-bit and wider types. */
export function store(a: Expr, dtype: DType): Expr {
  if (bytesOf(dtype) >= 4 || dtype === "bool") return a
  if (a.op === "load" && a.dtype === dtype || a.op === "store" && a.dtype === dtype) return a
  if (isFloat(dtype)) return intern("store", a.type, [a], 0, dtype)
  const [low, high] = limitsOf(dtype)
  if (a.low >= low && a.high <= high) return a
  return intern("store", a.type, [a], 0, dtype, low, high)
}

/** Converts a value between storage types: through the scalar types, then narrowed. */
export function convert(a: Expr, from: DType, to: DType): Expr {
  if (from === to) return a
  // A float becomes a small unsigned integer through i32, so that negative values wrap as in C.
  const through = isFloat(from) && dtypes[to].kind === "uint" && bytesOf(to) < 4 ? cast(cast(a, "i32"), "u32") : cast(a, scalarOf(to))
  return store(through, to)
}
