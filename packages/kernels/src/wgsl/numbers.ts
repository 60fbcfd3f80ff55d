// Functions of f32 that WGSL lacks, or promises too little about: its exp, sin, pow and atan may be off by thousands of
// units in the last place, and what min, max and casts make of NaN is left open. Each is a row: its text, and what it
// calls. Bits are looked at where the arithmetic of a driver cannot be trusted. Bounds are checked by the conformance table.
import { exactFunctions } from "./exact.ts"

export interface MathFunction { readonly needs?: readonly string[]; readonly text: string }

/** Horner's scheme, highest coefficient first, as text. */
const polynomial = (x: string, coefficients: readonly string[]): string => coefficients.slice(1).reduce((p, c) => `(${p} * ${x} + ${c}f)`, `${coefficients[0]}f`)

/** eʳ for |r| ≤ ½ ln 2 (coefficients of Cephes expf). */
const expPolynomial = `${polynomial("r", ["1.9875691500e-4", "1.3981999507e-3", "8.3334519073e-3", "4.1665795894e-2", "1.6666665459e-1", "5.0000001201e-1"])} * r * r + r + 1f`

/** Bits of 2/π after the point. */
const twoOverPi = ["0x00000000", "0xa2f9836e", "0x4e441529", "0xfc2757d1", "0xf534ddc0", "0xdb629599", "0x3c439041", "0xfe5163ab"]

export const mathFunctions = {
  /** Zero, but no compiler knows it: it comes with the arguments. */
  zero: { text: "fn zero() -> u32 { return arguments[0].x; }" },
  /** A value that no compiler can join with what uses it, so that it is rounded. */
  rounded: { needs: ["zero"], text: "fn rounded(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) | zero()); }" },
  /** Infinities and NaN are no constant expressions. */
  special: { needs: ["zero"], text: "fn special(bits: u32) -> f32 { return bitcast<f32>(bits | zero()); }" },
  isNan: { text: "fn isNan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }" },
  /** Integers in the order of the floats they stand for, -0 before 0. */
  order: { text: "fn order(x: f32) -> i32 { let i = bitcast<i32>(x); return i ^ ((i >> 31u) & 0x7fffffff); }" },
  /** The float of a place in that order. */
  placed: { text: "fn placed(i: i32) -> f32 { return bitcast<f32>(i ^ ((i >> 31u) & 0x7fffffff)); }" },
  /** As `order`, with NaN above all. */
  rank: { needs: ["order", "isNan"], text: "fn rank(x: f32) -> i32 { return select(order(x), 0x7fffffff, isNan(x)); }" },
  min: {
    needs: ["isNan", "order"],
    text: `fn minOf(a: f32, b: f32) -> f32 { return select(select(b, a, order(a) < order(b) || isNan(a)), b, isNan(b) && !isNan(a)); }`,
  },
  max: {
    needs: ["isNan", "order"],
    text: `fn maxOf(a: f32, b: f32) -> f32 { return select(select(b, a, order(a) > order(b) || isNan(a)), b, isNan(b) && !isNan(a)); }`,
  },
  power2: { text: "fn power2(n: i32) -> f32 { return bitcast<f32>((n + 127) << 23u); }" },
  /** Compilers may clamp NaN to a bound. */
  exp: { needs: ["expOfNumber", "isNan"], text: "fn expOf(x: f32) -> f32 { return select(expOfNumber(x), x, isNan(x)); }" },
  /** x = n·ln 2 + r, of all but NaN; scaled in two steps so that subnormal results are right. ≤ 1.5 ulp. */
  expOfNumber: {
    needs: ["power2"],
    text: `fn expOfNumber(x: f32) -> f32 {
  let held = select(select(x, -104f, x < -104f), 89f, x > 89f);
  let n = round(held * 1.4426950408889634f);
  let r = (held - n * 0.693359375f) - n * -2.12194440e-4f;
  let i = i32(n);
  let half = i >> 1u;
  return (${expPolynomial}) * power2(half) * power2(i - half);
}`,
  },
  /** Mantissa in [√½, √2) by a polynomial (Cephes logf) plus exponent · ln 2. ≤ 2 ulp. */
  log: {
    needs: ["special", "isNan"],
    text: `fn logOf(x: f32) -> f32 {
  let all = bitcast<u32>(x);
  if (all == 0u || all == 0x80000000u) { return special(0xff800000u); }
  if (all == 0x7f800000u || isNan(x)) { return x; }
  if (all > 0x80000000u) { return special(0x7fc00000u); }
  let tiny = all < 0x00800000u;
  let bits = select(bitcast<i32>(all), bitcast<i32>(f32(all)), tiny);
  let shifted = bits + ${0x3f800000 - 0x3f3504f3};
  let exponent = f32((shifted >> 23u) - 127 - select(0, 149, tiny));
  let m = bitcast<f32>((shifted & 0x007fffff) + 0x3f3504f3) - 1f;
  let z = m * m;
  let p = ${polynomial("m", ["7.0376836292e-2", "-1.1514610310e-1", "1.1676998740e-1", "-1.2420140846e-1", "1.4249322787e-1", "-1.6668057665e-1", "2.0000714765e-1", "-2.4999993993e-1", "3.3333331174e-1"])};
  let tail = p * m * z + exponent * -2.12194440e-4f - z * 0.5f;
  return m + tail + exponent * 0.693359375f;
}`,
  },
  signed: { text: "fn signed(magnitude: f32, x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(magnitude) | (bitcast<u32>(x) & 0x80000000u)); }" },
  /** An odd polynomial below 0.625 (Cephes tanhf), 1 − 2/(e²ˣ + 1) above, 1 from 9.1 on. ≤ 2 ulp. */
  tanh: {
    needs: ["exp", "signed", "isNan"],
    text: `fn tanhOf(x: f32) -> f32 {
  if (isNan(x)) { return x; }
  let a = abs(x);
  if (a < 0.625f) {
    let z = x * x;
    return ${polynomial("z", ["-5.70498872745e-3", "2.06390887954e-2", "-5.37397155531e-2", "1.33314422036e-1", "-3.33332819422e-1"])} * z * x + x;
  }
  let held = min(a, 9.1f);
  return signed(1f - 2f / (expOf(held + held) + 1f), x);
}`,
  },
  /** An odd polynomial below 0.9277, 1 − exp of a polynomial above (coefficients by N. Juffa), 1 from 4 on. ≤ 2 ulp. */
  erf: {
    needs: ["exp", "signed", "isNan"],
    text: `fn erfOf(x: f32) -> f32 {
  if (isNan(x)) { return x; }
  let t = min(abs(x), 4f);
  let s = t * t;
  if (t < 0.927734375f) {
    return ${polynomial("s", ["-5.96761703e-4", "4.99119423e-3", "-2.67681349e-2", "1.12819925e-1", "-3.76125336e-1", "1.28379166e-1"])} * x + x;
  }
  let lead = (-1.72853470e-5f * t + 3.83197126e-4f) * s + (-3.88396438e-3f * t + 2.42546219e-2f);
  let q = ((lead * t + -1.06777877e-1f) * t + -6.34846687e-1f) * t + -1.28717512e-1f;
  return signed(1f - expOf(q * t - t), x);
}`,
  },
  /** Three intervals, a polynomial on |t| ≤ tan π/8 (Cephes atanf). ≤ 2 ulp. */
  atan: {
    needs: ["signed"],
    text: `fn atanOf(x: f32) -> f32 {
  let a = abs(x);
  var base = 0f;
  var t = a;
  if (a > 2.414213562373095f) { base = 1.5707963267948966f; t = -1f / a; }
  else if (a > 0.4142135623730950f) { base = 0.7853981633974483f; t = (a - 1f) / (a + 1f); }
  let z = t * t;
  return signed(base + (${polynomial("z", ["8.05374449538e-2", "-1.38776856032e-1", "1.99777106478e-1", "-3.33329491539e-1"])} * z * t + t), x);
}`,
  },
  /** The 64 bits of a product. */
  wide: {
    text: `fn wide(a: u32, b: u32) -> vec2<u32> {
  let p = (a & 0xffffu) * (b & 0xffffu);
  let q = (a & 0xffffu) * (b >> 16u);
  let r = (a >> 16u) * (b & 0xffffu);
  let middle = (p >> 16u) + (q & 0xffffu) + (r & 0xffffu);
  return vec2<u32>(a * b, (a >> 16u) * (b >> 16u) + (q >> 16u) + (r >> 16u) + (middle >> 16u));
}`,
  },
  /** Nearest multiple of π/2, modulo 4, and the rest: the mantissa times those bits of 2/π that matter (Payne and Hanek 1983). */
  quarters: {
    needs: ["wide"],
    text: `struct Quarters { count: u32, rest: f32 }
fn quarters(x: f32) -> Quarters {
  let bits = bitcast<u32>(x) & 0x7fffffffu;
  if (bits < 0x3f490fdbu) { return Quarters(0u, x); }
  var table = array<u32, ${twoOverPi.length}>(${twoOverPi.map((w) => `${w}u`).join(", ")});
  // Bits of 2/π worth 4 or more after the product need not be there.
  let offset = (bits >> 23u) - 120u;
  let at = offset >> 5u;
  let by = offset & 31u;
  let mantissa = (bits & 0x007fffffu) | 0x00800000u;
  let high = select((table[at] << by) | (table[at + 1u] >> (32u - by)), table[at], by == 0u);
  let middle = select((table[at + 1u] << by) | (table[at + 2u] >> (32u - by)), table[at + 1u], by == 0u);
  let low = select((table[at + 2u] << by) | (table[at + 3u] >> (32u - by)), table[at + 2u], by == 0u);
  let second = wide(mantissa, middle);
  let f1 = second.x + wide(mantissa, low).y;
  let f0 = mantissa * high + second.y + select(0u, 1u, f1 < second.x);
  // The first two bits count, the other sixty-two are a fraction of a quarter turn.
  var h = (f0 << 2u) | (f1 >> 30u);
  var l = f1 << 2u;
  let up = h >= 0x80000000u;
  if (up) { h = ~h; l = ~l; }
  let zeros = min(countLeadingZeros(h), 31u);
  let top = select((h << zeros) | (l >> (32u - zeros)), h, zeros == 0u);
  let magnitude = f32(top) * bitcast<f32>((127u - 32u - zeros) << 23u) * 1.5707963267948966f;
  let negative = up != (bitcast<u32>(x) >= 0x80000000u);
  let count = (f0 >> 30u) + select(0u, 1u, up);
  return Quarters(select(count, 0u - count, bitcast<u32>(x) >= 0x80000000u), select(magnitude, -magnitude, negative));
}`,
  },
  /** sin (turn 0) and cos (turn 1): Cephes' polynomials on |r| ≤ π/4. ≤ 3 ulp, of any argument. */
  circular: {
    needs: ["quarters", "special"],
    text: `fn circular(x: f32, turn: u32) -> f32 {
  if ((bitcast<u32>(x) & 0x7f800000u) == 0x7f800000u) { return special(0x7fc00000u); }
  let q = quarters(x);
  let r = q.rest;
  let z = r * r;
  let count = q.count + turn;
  let sine = ${polynomial("z", ["-1.9515295891e-4", "8.3321608736e-3", "-1.6666654611e-1"])} * z * r + r;
  let cosine = ${polynomial("z", ["2.443315711809948e-5", "-1.388731625493765e-3", "4.166664568298827e-2"])} * z * z - 0.5f * z + 1f;
  let y = select(sine, cosine, (count & 1u) == 1u);
  return select(y, -y, (count & 2u) == 2u);
}`,
  },
  /** A product and its rounding error: factors are split into halves whose products are exact (Dekker 1971). */
  twoProduct: {
    needs: ["rounded"],
    text: `fn twoProduct(a: f32, b: f32) -> vec2<f32> {
  let p = rounded(a * b);
  let ah = bitcast<f32>(bitcast<u32>(a) & 0xfffff000u);
  let bh = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
  let al = a - ah;
  let bl = b - bh;
  return vec2<f32>(p, ((ah * bh - p) + ah * bl + al * bh) + al * bl);
}`,
  },
  /** 2 to the power y·log₂|x|, the logarithm in two f32: log₂ m = 2/ln 2 · artanh((m−1)/(m+1)). ≤ 2 ulp. */
  pow: {
    needs: ["twoProduct", "power2", "special", "isNan", "signed"],
    text: `fn powOf(x: f32, y: f32) -> f32 {
  let ax = abs(x);
  let all = bitcast<u32>(x) & 0x7fffffffu;
  let ay = bitcast<u32>(y) & 0x7fffffffu;
  if (ay == 0u || bitcast<u32>(x) == 0x3f800000u) { return 1f; }
  if (isNan(x)) { return x; }
  if (isNan(y)) { return y; }
  let negative = bitcast<u32>(x) >= 0x80000000u;
  let falls = bitcast<u32>(y) >= 0x80000000u;
  if (ay == 0x7f800000u) {
    if (all == 0x3f800000u) { return 1f; }
    return select(0f, special(0x7f800000u), (all > 0x3f800000u) != falls);
  }
  let whole = ay >= 0x4b800000u || floor(y) == y;
  let odd = whole && ay < 0x4b800000u && (i32(y) & 1) == 1;
  let sign = select(0u, 0x80000000u, negative && odd);
  if (all == 0u || all == 0x7f800000u) { return special(sign | select(0u, 0x7f800000u, (all == 0u) == falls)); }
  if (negative && !whole) { return special(0x7fc00000u); }
  let tiny = all < 0x00800000u;
  let bits = select(bitcast<i32>(ax), bitcast<i32>(f32(all)), tiny);
  let shifted = bits + ${0x3f800000 - 0x3f3504f3};
  let exponent = f32((shifted >> 23u) - 127 - select(0, 149, tiny));
  let m = bitcast<f32>((shifted & 0x007fffff) + 0x3f3504f3);
  let u = m - 1f;
  let v = rounded(m + 1f);
  let t = rounded(u / v);
  let tv = twoProduct(t, v);
  let rest = (((u - tv.x) - tv.y) - t * (m - (v - 1f))) / v;
  let s = t * t;
  let tail = rest + ${polynomial("s", ["0.090909091", "0.111111111", "0.142857143", "0.2", "0.333333333"])} * s * t;
  let a = rounded(t + tail);
  let al = tail - (a - t);
  let product = twoProduct(a, ${Math.fround(2 / Math.LN2)}f);
  let part = product.y + (a * ${2 / Math.LN2 - Math.fround(2 / Math.LN2)}f + al * 2.88539f);
  let high = rounded(exponent + product.x);
  let back = rounded(high - exponent);
  let low = ((exponent - rounded(high - back)) + (product.x - back)) + part;
  let guess = y * high;
  if (guess > 200f) { return special(sign | 0x7f800000u); }
  if (guess < -200f) { return special(sign); }
  let z = twoProduct(y, high);
  let n = round(z.x);
  let r = ((z.x - n) + (z.y + y * low)) * 0.6931471805599453f;
  let i = i32(n);
  let half = i >> 1u;
  return bitcast<f32>(bitcast<u32>((${expPolynomial}) * power2(half) * power2(i - half)) | sign);
}`,
  },
  ...exactFunctions,
  toI32: {
    needs: ["isNan"],
    text: `fn toI32(x: f32) -> i32 {
  if (isNan(x)) { return 0; }
  if (x >= 2147483648f) { return 2147483647; }
  if (x <= -2147483648f) { return bitcast<i32>(0x80000000u); }
  return i32(x);
}`,
  },
  toU32: {
    needs: ["isNan"],
    text: `fn toU32(x: f32) -> u32 {
  if (isNan(x) || x <= 0f) { return 0u; }
  if (x >= 4294967296f) { return 0xffffffffu; }
  return u32(x);
}`,
  },
  divI32: { text: "fn divI32(a: i32, b: i32) -> i32 { return select(a / select(b, 1, b == 0), 0, b == 0); }" },
  divU32: { text: "fn divU32(a: u32, b: u32) -> u32 { return select(a / select(b, 1u, b == 0u), 0u, b == 0u); }" },
  remI32: { text: "fn remI32(a: i32, b: i32) -> i32 { return select(a % select(b, 1, b == 0 || b == -1), 0, b == 0 || b == -1); }" },
  remU32: { text: "fn remU32(a: u32, b: u32) -> u32 { return select(a % select(b, 1u, b == 0u), 0u, b == 0u); }" },
  /** f16 bits → f32, exact. */
  fromF16: {
    text: `fn fromF16(h: u32) -> f32 {
  let sign = (h & 0x8000u) << 16u;
  let low = h & 0x7fffu;
  let small = bitcast<u32>(f32(low) * 5.9604644775390625e-8f);
  let wide = (low << 13u) + select(0x38000000u, 0x70000000u, low >= 0x7c00u);
  return bitcast<f32>(sign | select(wide, small, low < 0x0400u));
}`,
  },
  /** f32 → the bits of the nearest f16, ties to even. Below 2⁻¹⁴ adding ½ leaves the subnormal's units in the low bits, rounded by the adder. */
  toF16: {
    text: `fn toF16(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let low = bits & 0x7fffffffu;
  let normal = (low + 0xc8000fffu + ((low >> 13u) & 1u)) >> 13u;
  let small = bitcast<u32>(bitcast<f32>(low) + 0.5f) - 0x3f000000u;
  let finite = select(normal, small, low < 0x38800000u);
  let large = select(0x7e00u, 0x7c00u, low <= 0x7f800000u);
  return ((bits >> 16u) & 0x8000u) | select(large, finite, low < 0x477ff000u);
}`,
  },
  toBf16: {
    text: `fn toBf16(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let near = (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
  return select(near, (bits >> 16u) | 0x40u, (bits & 0x7fffffffu) > 0x7f800000u);
}`,
  },
} as const satisfies Record<string, MathFunction>

export type MathName = keyof typeof mathFunctions

/** The text of functions and of all they need, each once, callees first. */
export function mathText(wanted: Iterable<MathName>): string {
  const done = new Set<string>()
  const lines: string[] = []
  const add = (name: MathName): void => {
    if (done.has(name)) return
    done.add(name)
    const row: MathFunction = mathFunctions[name]
    for (const n of row.needs ?? []) add(n as MathName)
    lines.push(row.text)
  }
  for (const name of wanted) add(name)
  return lines.join("\n")
}

/** The name by which a row's function is called. */
export const calledAs = (name: MathName): string => /fn (\w+)\(/.exec(mathFunctions[name].text.split("\n").find((l) => l.startsWith("fn "))!)![1]!
