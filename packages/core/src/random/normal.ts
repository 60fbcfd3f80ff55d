import { isFloat, type DType } from "../dtype.ts"
import { fail } from "../errors.ts"
import { add, cast, constant, div, le, log, lt, max, min, mul, neg, not, select, sqrt, sub, type Expr } from "../expr.ts"
import { add as plus, castTo, mul as times } from "../ops/elementwise.ts"
import { erf } from "../reference.ts"
import type { Shape } from "../shape.ts"
import type { Tensor } from "../tensor.ts"
import { draw, type Key } from "./key.ts"
import { checkFloat, mixed } from "./uniform.ts"

const c = (value: number): Expr => constant("f32", value)
const polynomial = (x: Expr, coefficients: readonly number[]): Expr =>
  coefficients.slice(1).reduce((sum, k) => add(mul(sum, x), c(k)), c(coefficients[0]!))

/** Numerators and denominators of PPND7, highest power first: the middle, the tails, the far tails (p < e⁻²⁵). */
const ppnd7 = {
  middle: [[59.109374720, 159.29113202, 50.434271938, 3.3871327179], [67.187563600, 78.757757664, 17.895169469, 1]],
  tail: [[0.17023821103, 1.3067284816, 2.7568153900, 1.4234372777], [0.12021132975, 0.73700164250, 1]],
  far: [[0.017337203997, 0.42868294337, 3.0812263860, 6.6579051150], [0.012258202635, 0.24197894225, 1]],
} as const

const ratio = (x: Expr, [over, under]: readonly [readonly number[], readonly number[]]): Expr => div(polynomial(x, over), polynomial(x, under))

/**
 * The normal quantile from both tail probabilities (p below, q above), so that neither tail loses precision. Wichura,
 * "Algorithm AS 241: the percentage points of the normal distribution", Applied Statistics 37 (1988), PPND7.
 */
function quantile(p: Expr, q: Expr, far: boolean): Expr {
  const tail = min(p, q)
  const x = sub(c(0.5), tail)
  const middle = mul(x, ratio(sub(c(0.180625), mul(x, x)), ppnd7.middle))
  const r = sqrt(neg(log(tail)))
  const near = ratio(sub(r, c(1.6)), ppnd7.tail)
  const outer = far ? select(le(r, c(5)), near, ratio(sub(r, c(5)), ppnd7.far)) : near
  const size = select(le(x, c(0.425)), middle, outer)
  return select(lt(p, q), neg(size), size)
}

/** An interval of the standard normal: probability below, inside and above it. */
interface Interval { readonly low: number; readonly high: number; readonly below: number; readonly mass: number; readonly above: number }

/** The normal number that 32 random bits stand for, within an interval. */
export function fromWord(k: Expr, { low, high, below, mass, above }: Interval): Expr {
  // (k + ½)/2³² and its complement, both with full relative precision.
  const share = (n: Expr): Expr => mul(add(cast(n, "f32"), c(0.5)), c(2 ** -32))
  const part = (outside: number, n: Expr): Expr => (outside === 0 && mass === 1 ? share(n) : add(c(outside), mul(c(mass), share(n))))
  const z = quantile(part(below, k), part(above, not(k)), Math.min(below, above) + mass * 2 ** -33 < Math.exp(-24.9))
  const up = low === -Infinity ? z : max(z, c(low))
  return high === Infinity ? up : min(up, c(high))
}
const drawNormal = draw<Interval>("normal", (words, _dtype, interval) => fromWord(mixed(words), interval))
const everywhere = interval(-Infinity, Infinity)

export interface NormalOptions {
  /** Centre; 0 unless given. */
  readonly mean?: number | Tensor
  /** Standard deviation (before truncation); 1 unless given. */
  readonly std?: number | Tensor
  /** A float type; f32 unless given. Values are computed in f32. */
  readonly dtype?: DType
}

function place(op: string, z: Tensor, { mean = 0, std = 1, dtype = "f32" }: NormalOptions): Tensor {
  checkFloat(op, dtype)
  if (typeof mean === "number" ? !Number.isFinite(mean) : !isFloat(mean.dtype)) fail("value", op, `the mean must be finite, got ${typeof mean === "number" ? mean : mean.dtype}`)
  if (typeof std === "number" ? !(std >= 0 && std < Infinity) : !isFloat(std.dtype)) fail("value", op, `the standard deviation must be finite and ≥ 0, got ${typeof std === "number" ? std : std.dtype}`)
  const scaled = std === 1 ? z : times(z, std)
  return castTo(mean === 0 ? scaled : plus(scaled, mean), dtype)
}

/**
 * Normal numbers: the quantile of 32 random bits, so |z| ≤ 6.34. Each is within 5e-7·max(1, |z|) of the exact quantile
 * in f32 arithmetic; devices differ by what their `log` and `sqrt` do, at most 4e-6·max(1, |z|).
 */
export function normal(key: Key, shape: Shape, options: NormalOptions = {}): Tensor {
  return place("normal", drawNormal(key, shape, "f32", everywhere), options)
}

export interface TruncatedNormalOptions extends NormalOptions {
  /** Bounds in standard deviations from the mean; -2 and 2 unless given. */
  readonly low?: number
  readonly high?: number
}
/** Normal numbers given that they lie in [mean + low·std, mean + high·std]; drawn by quantile, without rejection. */
export function truncatedNormal(key: Key, shape: Shape, { low = -2, high = 2, ...options }: TruncatedNormalOptions = {}): Tensor {
  return place("truncatedNormal", drawNormal(key, shape, "f32", interval(low, high)), options)
}

/** An interval of the standard normal with its probabilities. */
export function interval(low: number, high: number): Interval {
  if (!(low < high)) fail("value", "truncatedNormal", `needs low < high, got ${low} and ${high}`)
  const below = upperTail(-low), above = upperTail(high)
  // The smaller tails are subtracted, where no digits cancel against 1.
  const mass = low > 0 ? upperTail(low) - above : high < 0 ? upperTail(-high) - below : 1 - below - above
  if (!(mass > 1e-27)) fail("value", "truncatedNormal", `[${low}, ${high}] has a probability of ${mass}, too little for f32`, "bounds are in standard deviations from the mean")
  return { low, high, below, mass, above }
}

/** P(Z > x) in f64: from erf up to 3, above by the continued fraction 1/(x + 1/(x + 2/(x + …))) of Mills' ratio. */
export function upperTail(x: number): number {
  if (!(x > 3)) return 0.5 - 0.5 * erf(x / Math.SQRT2)
  if (x === Infinity) return 0
  let f = x
  for (let k = 80; k > 0; k--) f = x + k / f
  return Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI) / f
}
