import type { Scalar } from "./dtype.ts"
import { intern, type Expr } from "./intern.ts"

// Index arithmetic that simplifies itself: sums are kept as Σ times·term + constant, which is valid modulo 2³².

export const integral = (t: Scalar): boolean => t === "i32" || t === "u32"
export const isConst = (e: Expr, value?: number): boolean => e.op === "const" && (value === undefined || e.value === value)

/** A constant; integers wrap to their type. */
export function constant(type: Scalar, value: number): Expr {
  if (!integral(type)) return intern("const", type, [], type === "bool" ? (value ? 1 : 0) : type === "f32" ? Math.fround(value) : value)
  const v = type === "i32" ? value | 0 : value >>> 0
  return intern("const", type, [], v, undefined, v, v)
}
export const int = (value: number): Expr => constant("i32", value)

/** Σ times·term + rest: no term twice, none of them a sum, by ascending ids. */
export interface Sum { readonly terms: readonly Term[]; readonly rest: number }
type Term = readonly [term: Expr, times: number]
const none: Sum = { terms: [], rest: 0 }

/** The sum that an integer expression is: how often every non-linear term is taken, and the constant. */
export function sumOf(e: Expr): Sum {
  return (e.sum ??=
    e.op === "const" ? { terms: [], rest: e.value }
    : e.op === "add" ? plus(sumOf(e.src[0]!), sumOf(e.src[1]!), 1)
    : e.op === "mul" && isConst(e.src[1]!) ? plus(none, sumOf(e.src[0]!), e.src[1]!.value)
    : { terms: [[e, 1]], rest: 0 })
}

/** a + times·b */
function plus(a: Sum, b: Sum, times: number): Sum {
  const rest = multiplyAdd(a.rest, times, b.rest)
  if (b.terms.length === 0) return { terms: a.terms, rest }
  if (a.terms.length === 0 && times === 1) return { terms: b.terms, rest }
  const terms: Term[] = []
  let i = 0
  for (const [term, k] of b.terms) {
    while (i < a.terms.length && a.terms[i]![0].id < term.id) terms.push(a.terms[i++]!)
    const before = a.terms[i]?.[0] === term ? a.terms[i++]![1] : 0
    const all = multiplyAdd(before, times, k)
    if (all !== 0) terms.push([term, all])
  }
  while (i < a.terms.length) terms.push(a.terms[i++]!)
  return { terms, rest }
}
/** a + times·b, exactly; modulo 2³² where that leaves the exact numbers. */
function multiplyAdd(a: number, times: number, b: number): number {
  const product = times * b, exact = a + product
  return Number.isSafeInteger(product) && Number.isSafeInteger(exact) ? exact : ((a | 0) + Math.imul(times, b)) | 0
}

/** n·(x div n) + (x rem n) is x again: what is left of a split coordinate once it is put together. */
function rejoin(sum: Sum): Sum {
  for (const [term, times] of sum.terms) {
    if (term.op !== "rem" || !isConst(term.src[1]!)) continue
    const [x, d] = term.src as [Expr, Expr]
    // A quotient of a quotient is one division, which is how it stands in the sum.
    const quotient = integerDiv(x, d)
    if (quotient.op !== "div" || !sum.terms.some(([t, k]) => t === quotient && k === times * d.value)) continue
    return rejoin(plus({ terms: sum.terms.filter(([t]) => t !== term && t !== quotient), rest: sum.rest }, sumOf(x), times))
  }
  return sum
}

/** The expression of a sum in which nothing is left to {@link rejoin}. */
function build(type: Scalar, sum: Sum): Expr {
  let out: Expr | undefined
  // What wraps is another sum, though an equal one.
  let wraps = false
  for (const [term, times] of sum.terms) {
    let part = term
    if (times !== 1) {
      const factor = constant(type, times)
      wraps ||= factor.value !== times
      const { low, high } = within(type, Math.min(term.low * times, term.high * times), Math.max(term.low * times, term.high * times))
      part = intern("mul", type, [term, factor], 0, undefined, low, high)
    }
    out = out === undefined ? part : addend(type, out, part)
  }
  const rest = constant(type, sum.rest)
  if (out === undefined) return rest
  if (rest.value !== 0) out = addend(type, out, rest, sum.rest)
  if (!wraps && rest.value === sum.rest) out.sum ??= sum
  return out
}
function addend(type: Scalar, a: Expr, b: Expr, more?: number): Expr {
  const { low, high } = within(type, a.low + (more ?? b.low), a.high + (more ?? b.high))
  return intern("add", type, [a, b], 0, undefined, low, high)
}

/** The bounds of the expression that {@link build} would make. */
function boundsOf(type: Scalar, { terms, rest }: Sum): Bounds {
  let all: Bounds | undefined
  for (const [term, times] of terms) {
    const part = times === 1 ? term : within(type, Math.min(term.low * times, term.high * times), Math.max(term.low * times, term.high * times))
    all = all === undefined ? part : within(type, all.low + part.low, all.high + part.high)
  }
  const wrapped = type === "i32" ? rest | 0 : rest >>> 0
  if (all === undefined) return { low: wrapped, high: wrapped }
  return wrapped === 0 ? all : within(type, all.low + rest, all.high + rest)
}

interface Bounds { readonly low: number; readonly high: number }
const unbounded: Bounds = { low: -Infinity, high: Infinity }
/** Bounds that hold: a value that may leave its type's range wraps, so nothing is known about it. */
function within(type: Scalar, low: number, high: number): Bounds {
  const least = type === "u32" ? 0 : -2147483648
  return low >= least && high < least + 2 ** 32 ? { low, high } : unbounded
}
const bounded = (e: Expr): boolean => e.low > -Infinity && e.high < Infinity

/** a + times·b, of integers. */
export function integerSum(a: Expr, b: Expr, times: 1 | -1): Expr {
  if (isConst(b, 0)) return a
  // Data of unknown size keeps its order of operations; only bounded values (coordinates) are worth rearranging.
  if (bounded(a) && bounded(b)) return build(a.type, rejoin(plus(sumOf(a), sumOf(b), times)))
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
  let sum = none
  for (let i = 0; i < parts.length; i++) sum = rejoin(plus(sum, sumOf(parts[i]!), times[i]!))
  return build("i32", sum)
}

/** a·b, of integers; a constant is b. */
export function integerProduct(a: Expr, b: Expr): Expr {
  if (b.op === "const") {
    if (b.value === 0) return b
    if (b.value === 1) return a
    if (bounded(a)) {
      const sum = plus(none, sumOf(a), b.value)
      // Products of large constants leave the exact integers; the plain instruction wraps correctly.
      if (Math.abs(sum.rest) < 2 ** 52 && sum.terms.every(([, k]) => Math.abs(k) < 2 ** 31)) return build(a.type, rejoin(sum))
    }
  }
  return intern("mul", a.type, [a, b])
}

/** Splits a non-negative sum by divisor d: a = d·quotient + remainder, where `remainder` keeps what d does not divide; whether it is below d. */
function divide(a: Expr, d: number): { quotient: Sum; remainder: Sum; fits: boolean } | undefined {
  if (!(a.low >= 0 && a.high <= 2 ** 31) || d <= 0) return undefined
  const { terms, rest } = sumOf(a)
  const whole = Math.floor(rest / d)
  const quotient = rejoin({ terms: terms.filter(([, k]) => k % d === 0).map(([t, k]) => [t, k / d]), rest: whole })
  const remainder = rejoin({ terms: terms.filter(([, k]) => k % d !== 0), rest: rest - whole * d })
  const { low, high } = boundsOf(a.type, remainder)
  return boundsOf(a.type, quotient).low >= 0 && low >= 0 ? { quotient, remainder, fits: high < d } : undefined
}

/** a div b, of integers. */
export function integerDiv(a: Expr, b: Expr): Expr {
  if (isConst(b, 1)) return a
  if (isConst(a) && isConst(b)) return constant(a.type, b.value === 0 ? 0 : Math.trunc(a.value / b.value))
  const parts = b.op === "const" ? divide(a, b.value) : undefined
  if (parts === undefined) return intern("div", a.type, [a, b])
  const quotient = build(a.type, parts.quotient)
  if (parts.fits) return quotient
  const remainder = build(a.type, parts.remainder)
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
  const remainder = build(a.type, parts.remainder)
  return parts.fits ? remainder : intern("rem", a.type, [remainder, b], 0, undefined, 0, b.value - 1)
}
