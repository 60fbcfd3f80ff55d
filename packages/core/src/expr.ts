import { bytesOf, dtypes, isFloat, scalarOf, type DType, type Scalar } from "./dtype.ts"
import { fail } from "./errors.ts"

/**
 * The closed scalar alphabet: everything an emitter must spell. Values are the number of sources.
 *
 * Semantics (the reference device is the definition): f32 operations round once; `min`/`max` propagate NaN; `round` is
 * half to even; integer `div` truncates, `rem` has the dividend's sign, both give 0 for a zero divisor; shifts use the
 * low five bits; `shr` is arithmetic on i32 and logical on u32; `cast` float → integer truncates and saturates (NaN → 0);
 * `store` narrows a value to what its dtype can hold (f16/bf16 rounding, integer wrap-around); `not` is logical on bool
 * and bitwise on integers.
 */
export const alphabet = {
  const: 0, index: 0, scalar: 0, acc: 0, load: 1,
  neg: 1, abs: 1, sqrt: 1, exp: 1, log: 1, sin: 1, cos: 1, atan: 1, tanh: 1, erf: 1,
  floor: 1, ceil: 1, round: 1, trunc: 1, not: 1, cast: 1, bitcast: 1, store: 1,
  add: 2, sub: 2, mul: 2, div: 2, rem: 2, min: 2, max: 2, pow: 2,
  and: 2, or: 2, xor: 2, shl: 2, shr: 2, lt: 2, le: 2, eq: 2,
  select: 3,
} as const satisfies Record<string, number>

export type ExprOp = keyof typeof alphabet

/**
 * One value of the scalar alphabet. Expressions are interned: equal ones are identical within one {@link freshExprs}
 * scope, so sharing is free and common subexpressions are evaluated once.
 */
export interface Expr {
  readonly op: ExprOp
  readonly type: Scalar
  readonly src: readonly Expr[]
  /** `const`: the value · `index`: axis of the kernel · `scalar`, `load`: number of the kernel's scalar or parameter. */
  readonly value: number
  /** Storage type of a `load` or `store`. */
  readonly dtype: DType | undefined
  /** Bounds of an integer value, used to simplify index arithmetic; infinite when nothing is known. */
  readonly low: number
  readonly high: number
  /** Number within its scope; sources have smaller ids. */
  readonly id: number
}

let table = new Map<string, Expr>()

/** Runs `fn` with an empty intern table, so that what it builds (one kernel) can be collected afterwards. */
export function freshExprs<T>(fn: () => T): T {
  const outer = table
  table = new Map()
  try {
    return fn()
  } finally {
    table = outer
  }
}

const unbounded: readonly [number, number] = [-Infinity, Infinity]

function intern(op: ExprOp, type: Scalar, src: readonly Expr[], value = 0, dtype?: DType, range = unbounded): Expr {
  let key = `${op} ${type} ${Object.is(value, -0) ? "-0" : value} ${dtype ?? ""}`
  for (const s of src) key += ` ${s.id}`
  if (op === "index") key += ` ${range[1]}`
  let found = table.get(key)
  if (found === undefined) {
    found = { op, type, src, value, dtype, low: range[0], high: range[1], id: table.size }
    table.set(key, found)
  }
  return found
}

const integral = (t: Scalar): boolean => t === "i32" || t === "u32"
const isConst = (e: Expr, value?: number): boolean => e.op === "const" && (value === undefined || e.value === value)

/** A constant; integers wrap to their type. */
export function constant(type: Scalar, value: number): Expr {
  const v = type === "i32" ? value | 0 : type === "u32" ? value >>> 0 : type === "bool" ? (value ? 1 : 0) : type === "f32" ? Math.fround(value) : value
  return intern("const", type, [], v, undefined, integral(type) ? [v, v] : unbounded)
}
export const int = (value: number): Expr => constant("i32", value)

/** Coordinate along axis `axis` of a kernel, 0 … size-1. */
export function index(axis: number, size: number): Expr {
  return size <= 1 ? int(0) : intern("index", "i32", [], axis, undefined, [0, size - 1])
}
/** The run-time scalar number `slot` of a kernel. */
export const scalar = (type: Scalar, slot: number): Expr => intern("scalar", type, [], slot)
/** What a reduction or template has accumulated; only in epilogues. */
export const acc = (type: Scalar): Expr => intern("acc", type, [])

/** Reads element `at` (i32, in elements) of parameter `parameter`, stored as `dtype`. */
export function load(parameter: number, dtype: DType, at: Expr): Expr {
  const bits = bytesOf(dtype) * 8
  const kind = dtypes[dtype].kind
  const range: readonly [number, number] = bits >= 32 ? unbounded :
    kind === "uint" ? [0, 2 ** bits - 1] : kind === "int" ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : unbounded
  return intern("load", scalarOf(dtype), [at], parameter, dtype, range)
}

function checkTypes(op: string, a: Expr, b: Expr): void {
  if (a.type !== b.type) fail("internal", op, `operand types differ, ${a.type} and ${b.type}`)
}

// ── Integer arithmetic: sums are kept as Σ coefficient·term + constant, which is valid modulo 2³². ──

/** Σ coefficient·term + rest. */
export interface Sum { terms: Map<Expr, number>; rest: number }

function addInto(sum: Sum, e: Expr, times: number): void {
  if (e.op === "const") sum.rest += times * e.value
  else if (e.op === "add") for (const s of e.src) addInto(sum, s, times)
  else if (e.op === "mul" && isConst(e.src[1]!)) addInto(sum, e.src[0]!, times * e.src[1]!.value)
  else sum.terms.set(e, (sum.terms.get(e) ?? 0) + times)
}

/** The sum that an i32 expression is: coefficient of every non-linear term, and the constant. */
export function sumOf(e: Expr): Sum {
  const sum: Sum = { terms: new Map(), rest: 0 }
  addInto(sum, e, 1)
  return sum
}

/** n·(x div n) + (x rem n) is x again: what is left of a split coordinate once it is put together. */
function rejoin(sum: Sum): void {
  for (const [term, k] of sum.terms) {
    if (term.op !== "rem" || !isConst(term.src[1]!)) continue
    const [x, d] = term.src as [Expr, Expr]
    // A quotient of a quotient is one division, which is how it stands in the sum.
    const quotient = integerDiv(x, d), times = k * d.value
    if (quotient.op !== "div" || sum.terms.get(quotient) !== times) continue
    sum.terms.delete(term)
    sum.terms.delete(quotient)
    addInto(sum, x, k)
    return rejoin(sum)
  }
}

function build(type: Scalar, sum: Sum): Expr {
  rejoin(sum)
  const { terms, rest } = sum
  let out: Expr | undefined
  let low = rest, high = rest
  const sorted = [...terms].filter(([, k]) => k !== 0).sort((a, b) => a[0].id - b[0].id)
  for (const [term, k] of sorted) {
    const ends = [term.low * k, term.high * k]
    const part = k === 1 ? term : intern("mul", type, [term, constant(type, k)], 0, undefined, within(type, Math.min(...ends), Math.max(...ends)))
    if (out === undefined) out = part
    else out = intern("add", type, [out, part], 0, undefined, within(type, out.low + part.low, out.high + part.high))
    low = out.low
    high = out.high
  }
  const c = constant(type, rest)
  if (out === undefined) return c
  return c.value === 0 ? out : intern("add", type, [out, c], 0, undefined, within(type, low + rest, high + rest))
}

/** Bounds that hold: a value that may leave its type's range wraps, so nothing is known about it. */
function within(type: Scalar, low: number, high: number): readonly [number, number] {
  const least = type === "u32" ? 0 : -2147483648
  return low >= least && high < least + 2 ** 32 ? [low, high] : unbounded
}

const bounded = (e: Expr): boolean => e.low > -Infinity && e.high < Infinity

function sum(a: Expr, b: Expr, times: 1 | -1): Expr {
  // Data of unknown size keeps its order of operations; only bounded values (coordinates) are worth rearranging.
  if (!bounded(a) || !bounded(b)) {
    if (isConst(b, 0)) return a
    return times === 1 && isConst(a, 0) ? b : intern(times === 1 ? "add" : "sub", a.type, [a, b])
  }
  const s = sumOf(a)
  addInto(s, b, times)
  return build(a.type, s)
}

/** Splits a non-negative sum by divisor d: a = d·quotient + remainder, where `remainder` keeps what d does not divide. */
function divide(a: Expr, d: number): { quotient: Expr; remainder: Expr } | undefined {
  if (!(a.low >= 0 && a.high <= 2 ** 31) || d <= 0) return undefined
  const s = sumOf(a)
  const quotient: Sum = { terms: new Map(), rest: Math.floor(s.rest / d) }
  const remainder: Sum = { terms: new Map(), rest: s.rest - quotient.rest * d }
  for (const [term, k] of s.terms)
    if (k % d === 0) quotient.terms.set(term, k / d)
    else remainder.terms.set(term, k)
  const q = build(a.type, quotient), r = build(a.type, remainder)
  return q.low >= 0 && r.low >= 0 ? { quotient: q, remainder: r } : undefined
}

/** a = g·outer + inner with g a divisor of d and 0 ≤ inner < g: then a div d = outer div d/g. For what `divide` leaves. */
function split(a: Expr, d: number): { g: number; outer: Expr; inner: Expr } | undefined {
  if (a.op !== "add") return undefined
  const s = sumOf(a)
  const g = Math.max(...[...s.terms.values()].map((k) => gcd(k, d)))
  if (g <= 1 || g >= d) return undefined
  const outer: Sum = { terms: new Map(), rest: Math.floor(s.rest / g) }
  const inner: Sum = { terms: new Map(), rest: s.rest - outer.rest * g }
  for (const [term, k] of s.terms)
    if (k % g === 0) outer.terms.set(term, k / g)
    else inner.terms.set(term, k)
  const o = build(a.type, outer), i = build(a.type, inner)
  return o.low >= 0 && i.low >= 0 && i.high < g ? { g, outer: o, inner: i } : undefined
}
const gcd = (a: number, b: number): number => (b === 0 ? Math.abs(a) : gcd(b, a % b))

function integerDiv(a: Expr, b: Expr): Expr {
  if (isConst(b, 1)) return a
  if (isConst(a) && isConst(b)) return constant(a.type, b.value === 0 ? 0 : Math.trunc(a.value / b.value))
  if (b.op === "const") {
    const parts = divide(a, b.value)
    if (parts) {
      const { quotient, remainder } = parts
      if (remainder.high < b.value) return quotient
      const nested = split(remainder, b.value)
      if (nested) return add(quotient, integerDiv(nested.outer, constant(a.type, b.value / nested.g)))
      // (x div p) div d = x div (p·d)
      const inner = remainder.op === "div" && isConst(remainder.src[1]!) ? div(remainder.src[0]!, constant(a.type, remainder.src[1]!.value * b.value))
        : intern("div", a.type, [remainder, b], 0, undefined, [Math.floor(remainder.low / b.value), Math.floor(remainder.high / b.value)])
      return add(quotient, inner)
    }
  }
  return intern("div", a.type, [a, b])
}

function integerRem(a: Expr, b: Expr): Expr {
  if (isConst(b, 1)) return constant(a.type, 0)
  if (isConst(a) && isConst(b)) return constant(a.type, b.value === 0 ? 0 : a.value % b.value)
  if (b.op === "const") {
    const parts = divide(a, b.value)
    if (parts) {
      if (parts.remainder.high < b.value) return parts.remainder
      const nested = split(parts.remainder, b.value)
      if (nested) return add(mul(integerRem(nested.outer, constant(a.type, b.value / nested.g)), constant(a.type, nested.g)), nested.inner)
      return intern("rem", a.type, [parts.remainder, b], 0, undefined, [0, b.value - 1])
    }
  }
  return intern("rem", a.type, [a, b])
}

// ── Constructors, one per letter of the alphabet ──

const unary = (op: ExprOp) => (a: Expr): Expr => intern(op, a.type, [a])
export const sqrt = unary("sqrt"), exp = unary("exp"), log = unary("log"), sin = unary("sin"), cos = unary("cos")
export const atan = unary("atan"), tanh = unary("tanh"), erf = unary("erf")
export const neg = (a: Expr): Expr => (integral(a.type) ? sum(constant(a.type, 0), a, -1) : intern("neg", a.type, [a]))
export const abs = (a: Expr): Expr => (a.type === "u32" ? a : intern("abs", a.type, [a]))
const rounding = (op: ExprOp) => (a: Expr): Expr => (integral(a.type) ? a : intern(op, a.type, [a]))
export const floor = rounding("floor"), ceil = rounding("ceil"), round = rounding("round"), trunc = rounding("trunc")
export const not = (a: Expr): Expr => (isConst(a) && a.type === "bool" ? constant("bool", a.value ? 0 : 1) : intern("not", a.type, [a]))

export function add(a: Expr, b: Expr): Expr {
  checkTypes("add", a, b)
  return integral(a.type) ? sum(a, b, 1) : intern("add", a.type, [a, b])
}
export function sub(a: Expr, b: Expr): Expr {
  checkTypes("sub", a, b)
  return integral(a.type) ? sum(a, b, -1) : intern("sub", a.type, [a, b])
}
export function mul(a: Expr, b: Expr): Expr {
  checkTypes("mul", a, b)
  if (isConst(a) && !isConst(b)) return mul(b, a)
  if (integral(a.type) && isConst(b)) {
    if (b.value === 0) return b
    if (!bounded(a)) return isConst(b, 1) ? a : intern("mul", a.type, [a, b])
    const s: Sum = { terms: new Map(), rest: 0 }
    addInto(s, a, b.value)
    // Products of large constants leave the exact integers; the plain instruction wraps correctly.
    if (Math.abs(s.rest) < 2 ** 52 && [...s.terms.values()].every((k) => Math.abs(k) < 2 ** 31)) return build(a.type, s)
  }
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
  return intern("min", a.type, [a, b], 0, undefined, [Math.min(a.low, b.low), Math.min(a.high, b.high)])
}
export function max(a: Expr, b: Expr): Expr {
  checkTypes("max", a, b)
  if (integral(a.type) && a.low >= b.high) return a
  if (integral(a.type) && b.low >= a.high) return b
  return intern("max", a.type, [a, b], 0, undefined, [Math.max(a.low, b.low), Math.max(a.high, b.high)])
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
    return intern(op, a.type, [a, b], 0, undefined, a.low >= 0 ? [0, Math.min(a.high, b.value)] : [0, b.value])
  }
  if (op === "or" && a.type === "bool" && isConst(b)) return b.value ? b : a
  if (op === "or" && isConst(b, 0)) return a
  return intern(op, a.type, [a, b], 0, undefined, op !== "and" && integral(a.type) && a.low >= 0 && b.low >= 0 ? [0, bitsBelow(Math.max(a.high, b.high))] : unbounded)
}
/** The largest number of as many bits. */
const bitsBelow = (n: number): number => (n < Infinity ? 2 ** Math.ceil(Math.log2(n + 1)) - 1 : n)
export const and = bitwise("and"), or = bitwise("or"), xor = bitwise("xor")

export function shl(a: Expr, b: Expr): Expr {
  checkTypes("shl", a, b)
  if (isConst(b, 0)) return a
  const times = isConst(b) ? 2 ** (b.value & 31) : Infinity
  return intern("shl", a.type, [a, b], 0, undefined, times < Infinity && bounded(a) ? within(a.type, a.low * times, a.high * times) : unbounded)
}
export function shr(a: Expr, b: Expr): Expr {
  checkTypes("shr", a, b)
  if (isConst(b) && b.value >= 0 && b.value < 31 && a.low >= 0 && a.high < 2 ** 31) return integerDiv(a, constant(a.type, 2 ** b.value))
  return intern("shr", a.type, [a, b], 0, undefined, a.low >= 0 && a.high < 2 ** 31 ? [0, a.high] : unbounded)
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
  return yes === no ? yes : intern("select", yes.type, [condition, yes, no], 0, undefined, [Math.min(yes.low, no.low), Math.max(yes.high, no.high)])
}

/** Value conversion between scalar types. */
export function cast(a: Expr, to: Scalar): Expr {
  if (a.type === to) return a
  if (isConst(a)) return constant(to, to === "bool" ? Number(a.value !== 0) : integral(to) && !integral(a.type) ? saturate(to, a.value) : a.value)
  if (integral(a.type) && integral(to) && a.low >= 0 && a.high < 2 ** 31) return intern("cast", to, [a], 0, undefined, [a.low, a.high])
  return intern("cast", to, [a], 0, undefined, a.type === "bool" ? [0, 1] : unbounded)
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
  const bits = bytesOf(dtype) * 8
  const kind = dtypes[dtype].kind
  const range: readonly [number, number] = isFloat(dtype) ? unbounded : kind === "uint" ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]
  if (!isFloat(dtype) && a.low >= range[0] && a.high <= range[1]) return a
  return intern("store", a.type, [a], 0, dtype, range)
}

/** Converts a value between storage types: through the scalar types, then narrowed. */
export function convert(a: Expr, from: DType, to: DType): Expr {
  if (from === to) return a
  // A float becomes a small unsigned integer through i32, so that negative values wrap as in C.
  const through = isFloat(from) && dtypes[to].kind === "uint" && bytesOf(to) < 4 ? cast(cast(a, "i32"), "u32") : cast(a, scalarOf(to))
  return store(through, to)
}
