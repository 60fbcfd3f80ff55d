// Functions of f32 that WebAssembly lacks, spelled in its arithmetic, so that they run four lanes at a time. Each is an
// expression in the scalar alphabet; coefficients and ranges are cited, bounds were measured against f64 (approx.test.ts).
import { expr, rewrite, type Expr } from "@thimble/core"

const { abs, add, bitcast, cast, constant, div, eq, int, le, lt, mul, ne, select, shl, shr, sub, and, or } = expr

const f = (value: number): Expr => constant("f32", value)

/** Horner's scheme, highest coefficient first. */
function polynomial(x: Expr, coefficients: readonly number[]): Expr {
  let p = f(coefficients[0]!)
  for (const c of coefficients.slice(1)) p = add(mul(p, x), f(c))
  return p
}

/** min and max that keep a NaN in x. */
const atMost = (x: Expr, c: number): Expr => select(lt(f(c), x), f(c), x)
const atLeast = (x: Expr, c: number): Expr => select(lt(x, f(c)), f(c), x)

/** 1.5·2²³: added to a number below 2²², it leaves the nearest integer in the low bits of the sum. */
const rounder = 12582912

/** eˣ: x = n·ln 2 + r, a polynomial for eʳ (Cephes expf), scaled in two steps so that subnormal results are right. ≤ 1.5 ulp. */
export function exp(x: Expr): Expr {
  const held = atMost(atLeast(x, -104), 89)
  const { power, shifted } = reduced(held)
  const bits = bitcast(shifted, "i32")
  // 2ⁿ as two factors. The rounder's own bits leave at the top when the exponent is shifted into place.
  const half = shr(bits, int(1))
  const power2 = (n: Expr): Expr => bitcast(add(shl(n, int(23)), int(0x3f800000)), "f32")
  return mul(mul(power, power2(half)), power2(sub(bits, half)))
}

/** eˣ for x ≤ 0, as softmax needs it: results below the normal numbers are 0. */
export function expOfNegative(x: Expr): Expr {
  return select(lt(x, f(-87.33654)), f(0), expOfNormal(x))
}

/** eˣ for results that are normal numbers, -87 ≤ x ≤ 88: one factor will do. */
function expOfNormal(x: Expr): Expr {
  const { power, shifted } = reduced(x)
  return mul(power, bitcast(add(shl(bitcast(shifted, "i32"), int(23)), int(0x3f800000)), "f32"))
}

/** eʳ for the rest r of x after n·ln 2, and n + rounder. */
function reduced(x: Expr): { power: Expr; shifted: Expr } {
  const shifted = add(mul(x, f(Math.LOG2E)), f(rounder))
  const n = sub(shifted, f(rounder))
  // ln 2 in two parts: the first has few enough bits that n times it is exact.
  const r = sub(sub(x, mul(n, f(0.693359375))), mul(n, f(-2.12194440e-4)))
  const p = polynomial(r, [1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1])
  return { power: add(add(mul(p, mul(r, r)), r), f(1)), shifted }
}

/** ln x: mantissa in [√½, √2) by a polynomial (Cephes logf) plus exponent · ln 2. ≤ 1 ulp outside (0.9, 1.1), ≤ 2 inside. */
export function log(x: Expr): Expr {
  const tiny = lt(x, f(1.17549435e-38))
  const bits = bitcast(select(tiny, mul(x, f(8388608)), x), "i32")
  // Moving the boundary to √½ puts the mantissa in [√½, √2).
  const shifted = add(bits, int(0x3f800000 - 0x3f3504f3))
  const exponent = sub(cast(sub(shr(shifted, int(23)), int(127)), "f32"), select(tiny, f(23), f(0)))
  const m = sub(bitcast(add(and(shifted, int(0x007fffff)), int(0x3f3504f3)), "f32"), f(1))
  const z = mul(m, m)
  const p = polynomial(m, [7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1])
  const tail = sub(add(mul(mul(p, m), z), mul(exponent, f(-2.12194440e-4))), mul(z, f(0.5)))
  const y = add(add(m, tail), mul(exponent, f(0.693359375)))
  const special = select(eq(x, f(0)), f(-Infinity), select(lt(x, f(0)), f(NaN), x))
  return select(and(lt(f(0), x), lt(x, f(Infinity))), y, special)
}

/** A magnitude with the sign of x. */
const signed = (magnitude: Expr, x: Expr): Expr => bitcast(or(bitcast(magnitude, "i32"), and(bitcast(x, "i32"), int(-2147483648))), "f32")

/** tanh: an odd polynomial below 0.625 (Cephes tanhf), 1 − 2/(e²ˣ + 1) above, 1 from 9.1 on. ≤ 2 ulp. */
export function tanh(x: Expr): Expr {
  const a = abs(x), z = mul(x, x), held = atMost(a, 9.1)
  const small = add(mul(mul(polynomial(z, [-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1]), z), x), x)
  const large = sub(f(1), div(f(2), add(expOfNormal(add(held, held)), f(1))))
  return select(lt(a, f(0.625)), small, signed(large, x))
}

/** Error function: an odd polynomial below 0.9277, 1 − exp of a polynomial above (coefficients by N. Juffa), 1 from 4 on. ≤ 2 ulp. */
export function erf(x: Expr): Expr {
  const { near, small, large } = erfPieces(x, expOfNormal)
  return select(near, small, signed(large, x))
}
/** The two pieces: the error function itself where x is near 0, its magnitude elsewhere. */
export function erfPieces(x: Expr, exponential: (x: Expr) => Expr): { near: Expr; small: Expr; large: Expr } {
  const t = atMost(abs(x), 4), s = mul(t, t)
  const small = add(mul(polynomial(s, [-5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1]), x), x)
  const high = add(mul(f(-1.72853470e-5), t), f(3.83197126e-4))
  const low = add(mul(f(-3.88396438e-3), t), f(2.42546219e-2))
  const q = polynomial2(t, add(mul(high, s), low), [-1.06777877e-1, -6.34846687e-1, -1.28717512e-1])
  return { near: lt(t, f(0.927734375)), small, large: sub(f(1), exponential(sub(mul(q, t), t))) }
}
/** Horner's scheme from a leading value. */
function polynomial2(x: Expr, lead: Expr, coefficients: readonly number[]): Expr {
  return coefficients.reduce((p, c) => add(mul(p, x), f(c)), lead)
}

/**
 * f16 bits, sign-extended (i32), → f32: shift into place and rescale the exponent, which also handles subnormals; what was
 * inf or NaN has become 65536 or more, and gets all bits of the exponent.
 */
export function f16ToF32(bits: Expr): Expr {
  const scaled = mul(bitcast(and(shl(bits, int(13)), int(0x8fffe000)), "f32"), f(2 ** 112))
  const special = select(le(f(65536), abs(scaled)), int(0x7f800000), int(0))
  return bitcast(or(bitcast(scaled, "i32"), special), "f32")
}

/**
 * The same without f32 subnormals, which cost dozens of cycles, where `alone` says that an expression is computed once for
 * many elements: the scales of K-quants are small, often subnormal f16. With vectors it would cost more than it saves.
 */
export function sparingSubnormals(roots: readonly Expr[], alone: (e: Expr) => boolean): Expr[] {
  return rewrite(roots, (e) => {
    if (e.op !== "mul" || e.src[1]!.op !== "const" || e.src[1]!.value !== 2 ** 112 || e.src[0]!.op !== "bitcast" || !alone(e)) return undefined
    const [bits] = e.src[0]!.src as [Expr]
    // With 112 added to its exponent, a value, or (2⁻¹⁴ + it)/2 for subnormals: the smaller of that and twice it less 2⁻¹⁴.
    const normal = bitcast(add(and(bits, int(0x0fffe000)), int(112 << 23)), "f32"), subnormal = sub(add(normal, normal), f(2 ** -14))
    const magnitude = select(lt(subnormal, normal), subnormal, normal)
    return bitcast(or(bitcast(magnitude, "i32"), and(bits, int(-0x80000000))), "f32")
  })
}

/** f32 → the nearest f16 (ties to even), as f32 bits kept in f16's 16-bit form (u32). */
export function f32ToF16(x: Expr): Expr {
  const u = (n: number): Expr => constant("u32", n)
  const bits = bitcast(x, "u32")
  const sign = and(shr(bits, u(16)), u(0x8000))
  const magnitude = and(bits, u(0x7fffffff))
  const odd = and(shr(magnitude, u(13)), u(1))
  const normal = shr(add(add(magnitude, u(0xc8000fff)), odd), u(13))
  // Below 2⁻¹⁴ adding ½ leaves the subnormal's units in the low bits, rounded by the adder.
  const subnormal = sub(bitcast(add(bitcast(magnitude, "f32"), f(0.5)), "u32"), u(0x3f000000))
  const finite = select(lt(magnitude, u(0x38800000)), subnormal, normal)
  const large = select(le(magnitude, u(0x7f800000)), u(0x7c00), u(0x7e00))
  return or(sign, select(lt(magnitude, u(0x477ff000)), finite, large))
}

/** f32 → the nearest bf16 (ties to even), 16 bits in a u32. */
export function f32ToBf16(x: Expr): Expr {
  const u = (n: number): Expr => constant("u32", n)
  const bits = bitcast(x, "u32")
  const rounded = shr(add(add(bits, u(0x7fff)), and(shr(bits, u(16)), u(1))), u(16))
  return select(ne(x, x), or(shr(bits, u(16)), u(0x40)), rounded)
}
export const bf16ToF32 = (bits: Expr): Expr => bitcast(shl(bits, constant("u32", 16)), "f32")

const spelled: Partial<Record<Expr["op"], (x: Expr) => Expr>> = { exp, log, tanh, erf }

/** Rewrites kernels' expressions so that only what WebAssembly has (and a few imported functions) is left. */
export function spell(roots: readonly Expr[]): Expr[] {
  return rewrite(roots, (e) => {
    if (e.type === "f32" && spelled[e.op]) return spelled[e.op]!(e.src[0]!)
    if (e.op === "store" && e.dtype === "f16") return f16ToF32(shr(shl(cast(f32ToF16(e.src[0]!), "i32"), int(16)), int(16)))
    if (e.op === "store" && e.dtype === "bf16") return bf16ToF32(f32ToBf16(e.src[0]!))
    if (e.op !== "load") return undefined
    // 16-bit floats are read as integers and widened by arithmetic.
    if (e.dtype === "f16") return f16ToF32(expr.load(e.value, "i16", e.src[0]!))
    return e.dtype === "bf16" ? bf16ToF32(expr.load(e.value, "u16", e.src[0]!)) : undefined
  })
}
