import type { Scalar } from "./dtype.ts"
import { intern, noSources, type Expr } from "./intern.ts"

// Index arithmetic that simplifies itself: sums are kept as Σ times·term + constant, which is valid modulo 2³².

export const integral = (t: Scalar): boolean => t === "i32" || t === "u32"
export const isConst = (e: Expr, value?: number): boolean => e.op === "const" && (value === undefined || e.value === value)

/** A constant; integers wrap to their type. */
export function constant(type: Scalar, value: number): Expr {
  if (!integral(type)) return intern("const", type, noSources, type === "bool" ? (value ? 1 : 0) : type === "f32" ? Math.fround(value) : value)
  const v = type === "i32" ? value | 0 : value >>> 0
  return intern("const", type, noSources, v, undefined, v, v)
}
export const int = (value: number): Expr => constant("i32", value)

/** Σ times·term + rest; none of the terms is a sum itself. */
export interface Sum { readonly terms: ReadonlyMap<Expr, number>; readonly rest: number }

/** The sum that an integer expression is: how often every non-linear term is taken, and the constant. */
export function sumOf(e: Expr): Sum {
  const { terms, rest } = addTo(nothing(), e, 1)
  return { terms: new Map(terms.map(({ term, times }) => [term, times])), rest }
}

interface Part { readonly term: Expr; readonly times: number }
/** A sum in the making: its terms by ascending ids, each once. Walked by plain loops: very many are made for each kernel, and iterators would leave behind more than they are. */
interface Growing { terms: Part[]; rest: number }
const nothing = (): Growing => ({ terms: [], rest: 0 })

/** Adds times·e. */
function addTo(sum: Growing, e: Expr, times: number): Growing {
  if (e.op === "const") sum.rest = multiplyAdd(sum.rest, times, e.value)
  else if (e.op === "add") {
    addTo(sum, e.src[0]!, times)
    addTo(sum, e.src[1]!, times)
  }
  else if (e.op === "mul" && isConst(e.src[1]!)) addTo(sum, e.src[0]!, multiplyAdd(0, times, e.src[1]!.value))
  else if (times !== 0) {
    const { terms } = sum
    // Most terms are newer than those before.
    let at = terms.length
    while (at > 0 && terms[at - 1]!.term.id >= e.id) at--
    const known = terms[at]?.term === e ? 1 : 0
    const all = known ? multiplyAdd(terms[at]!.times, times, 1) : times
    if (at === terms.length) terms.push({ term: e, times: all })
    else if (all === 0) terms.splice(at, known)
    else terms.splice(at, known, { term: e, times: all })
  }
  return sum
}
/** a + times·b, exactly; modulo 2³² where that leaves the exact numbers. */
function multiplyAdd(a: number, times: number, b: number): number {
  const product = times * b, exact = a + product
  return Number.isSafeInteger(product) && Number.isSafeInteger(exact) ? exact : ((a | 0) + Math.imul(times, b)) | 0
}

/** n·(x div n) + (x rem n) is x again: what is left of a split coordinate once it is put together. */
function rejoin(sum: Growing): Growing {
  for (let i = 0; i < sum.terms.length; i++) {
    const { term, times } = sum.terms[i]!
    if (term.op !== "rem" || !isConst(term.src[1]!)) continue
    const x = term.src[0]!, d = term.src[1]!
    // A quotient of a quotient is one division, which is how it stands in the sum.
    const quotient = integerDiv(x, d)
    if (quotient.op !== "div" || !sum.terms.some((t) => t.term === quotient && t.times === times * d.value)) continue
    sum.terms = sum.terms.filter((t) => t.term !== term && t.term !== quotient)
    return rejoin(addTo(sum, x, times))
  }
  return sum
}

/** The expression of a sum in which nothing is left to {@link rejoin}. */
function build(type: Scalar, { terms, rest }: Growing): Expr {
  let out: Expr | undefined
  for (let i = 0; i < terms.length; i++) {
    const { term, times } = terms[i]!
    const part = times === 1 ? term : within("mul", type, term, constant(type, times), Math.min(term.low * times, term.high * times), Math.max(term.low * times, term.high * times))
    out = out === undefined ? part : within("add", type, out, part, out.low + part.low, out.high + part.high)
  }
  const last = constant(type, rest)
  if (out === undefined) return last
  return last.value === 0 ? out : within("add", type, out, last, out.low + rest, out.high + rest)
}
/** An operation with bounds that hold: a value that may leave its type's range wraps, so nothing is known about it. */
export function within(op: "add" | "mul" | "shl", type: Scalar, a: Expr, b: Expr, low: number, high: number): Expr {
  const least = type === "u32" ? 0 : -2147483648
  return low >= least && high < least + 2 ** 32 ? intern(op, type, [a, b], 0, undefined, low, high) : intern(op, type, [a, b])
}
export const bounded = (e: Expr): boolean => e.low > -Infinity && e.high < Infinity

/** a + times·b, of integers. */
export function integerSum(a: Expr, b: Expr, times: 1 | -1): Expr {
  if (isConst(b, 0)) return a
  // Data of unknown size keeps its order of operations; only bounded values (coordinates) are worth rearranging.
  if (bounded(a) && bounded(b)) return build(a.type, rejoin(addTo(addTo(nothing(), a, 1), b, times)))
  return times === 1 && isConst(a, 0) ? b : intern(times === 1 ? "add" : "sub", a.type, [a, b])
}

/** Σ times·part of i32 that are not negative; undefined where it may leave the exact numbers, and the order of operations is kept. */
export function weightedSum(parts: readonly Expr[], times: readonly number[]): Expr | undefined {
  let most = 0
  for (let i = 0; i < parts.length; i++) {
    if (!(parts[i]!.low >= 0)) return undefined
    most += parts[i]!.high * times[i]!
  }
  if (!(most < 2 ** 31)) return undefined
  const sum = nothing()
  for (let i = 0; i < parts.length; i++) rejoin(addTo(sum, parts[i]!, times[i]!))
  return build("i32", sum)
}

/** a·b, of integers; a constant is b. */
export function integerProduct(a: Expr, b: Expr): Expr {
  if (b.op === "const") {
    if (b.value === 0) return b
    if (b.value === 1) return a
    if (bounded(a)) {
      const sum = addTo(nothing(), a, b.value)
      // Products of large constants leave the exact integers; the plain instruction wraps correctly.
      if (Math.abs(sum.rest) < 2 ** 52 && sum.terms.every(({ times }) => Math.abs(times) < 2 ** 31)) return build(a.type, rejoin(sum))
    }
  }
  return intern("mul", a.type, [a, b])
}

/** Splits a non-negative sum by divisor d: a = d·quotient + remainder, where `remainder` keeps what d does not divide. */
function divide(a: Expr, d: number): { quotient: Expr; remainder: Expr } | undefined {
  if (!(a.low >= 0 && a.high <= 2 ** 31) || d <= 0) return undefined
  const { terms, rest } = addTo(nothing(), a, 1)
  const whole = Math.floor(rest / d)
  const quotient: Growing = { terms: [], rest: whole }, remainder: Growing = { terms: [], rest: rest - whole * d }
  for (let i = 0; i < terms.length; i++) {
    const { term, times } = terms[i]!
    if (times % d === 0) quotient.terms.push({ term, times: times / d })
    else remainder.terms.push(terms[i]!)
  }
  const q = build(a.type, rejoin(quotient)), r = build(a.type, rejoin(remainder))
  return q.low >= 0 && r.low >= 0 ? { quotient: q, remainder: r } : undefined
}

/** a, a sum or a multiple, = g·outer + inner with g a divisor of d and 0 ≤ inner < g: then a div d = outer div d/g. For what `divide` leaves. */
function split(a: Expr, d: number): { g: number; outer: Expr; inner: Expr } | undefined {
  if (a.op !== "add" && a.op !== "mul") return undefined
  const { terms } = addTo(nothing(), a, 1)
  const g = Math.max(...terms.map(({ times }) => gcd(times, d)))
  const parts = g > 1 && g < d ? divide(a, g) : undefined
  return parts !== undefined && parts.remainder.high < g ? { g, outer: parts.quotient, inner: parts.remainder } : undefined
}
const gcd = (a: number, b: number): number => (b === 0 ? Math.abs(a) : gcd(b, a % b))

/** a div b, of integers. */
export function integerDiv(a: Expr, b: Expr): Expr {
  if (isConst(b, 1)) return a
  if (isConst(a) && isConst(b)) return constant(a.type, b.value === 0 ? 0 : Math.trunc(a.value / b.value))
  const parts = b.op === "const" ? divide(a, b.value) : undefined
  if (parts === undefined) return intern("div", a.type, [a, b])
  const { quotient, remainder } = parts
  if (remainder.high < b.value) return quotient
  const nested = split(remainder, b.value)
  if (nested) return integerSum(quotient, integerDiv(nested.outer, constant(a.type, b.value / nested.g)), 1)
  // (x div p) div d = x div (p·d)
  const inner = remainder.op === "div" && isConst(remainder.src[1]!) ? integerDiv(remainder.src[0]!, constant(a.type, remainder.src[1]!.value * b.value))
    : intern("div", a.type, [remainder, b], 0, undefined, Math.floor(remainder.low / b.value), Math.floor(remainder.high / b.value))
  return integerSum(quotient, inner, 1)
}

/** a rem b, of integers. */
export function integerRem(a: Expr, b: Expr): Expr {
  if (isConst(b, 1)) return constant(a.type, 0)
  if (isConst(a) && isConst(b)) return constant(a.type, b.value === 0 ? 0 : a.value % b.value)
  const parts = b.op === "const" ? divide(a, b.value) : undefined
  if (parts === undefined) return intern("rem", a.type, [a, b])
  const { remainder } = parts
  if (remainder.high < b.value) return remainder
  const nested = split(remainder, b.value)
  if (nested) return integerSum(integerProduct(integerRem(nested.outer, constant(a.type, b.value / nested.g)), constant(a.type, nested.g)), nested.inner, 1)
  return intern("rem", a.type, [remainder, b], 0, undefined, 0, b.value - 1)
}
