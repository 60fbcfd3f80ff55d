/** A function that kernels may call, in gpu.js's part of JavaScript: every argument and result is an f32 number. */
export interface KernelFunction { readonly name: string; readonly parameters: readonly string[]; readonly source: string }

const define = (name: string, parameters: readonly string[], body: string): KernelFunction =>
  ({ name, parameters, source: `function ${name}(${parameters.join(", ")}) {${body}}` })

/** p · 2^±e for e < 192, by exact products, each only if it is needed; `n` says the sign. */
const timesPower2 = `    if (e >= 64) { p = p * (n < 0 ? 5.421010862427522e-20 : 18446744073709551616); e = e - 64; }
    if (e >= 64) { p = p * 5.421010862427522e-20; e = e - 64; }
    if (e >= 32) { p = p * (n < 0 ? 2.3283064365386963e-10 : 4294967296); e = e - 32; }
    if (e >= 16) { p = p * (n < 0 ? 0.0000152587890625 : 65536); e = e - 16; }
    if (e >= 8) { p = p * (n < 0 ? 0.00390625 : 256); e = e - 8; }
    if (e >= 4) { p = p * (n < 0 ? 0.0625 : 16); e = e - 4; }
    if (e >= 2) { p = p * (n < 0 ? 0.25 : 4); e = e - 2; }
    if (e >= 1) { p = p * (n < 0 ? 0.5 : 2); }
`
/** The largest finite f32. */
const largest = 3.4028234663852886e38
/** 2/π in base 256, behind the point, after zeros for what is less than a digit. */
const digits = [0, 0, 0, 0, 0xa2, 0xf9, 0x83, 0x6e, 0x4e, 0x44, 0x15, 0x29, 0xfc, 0x27, 0x57, 0xd1, 0xf5, 0x34, 0xdd, 0xc0, 0xdb, 0x62, 0x95, 0x99, 0x3c, 0x43, 0x90, 0x41]
/** Infinity and NaN, for which gpu.js has no literals that mean them everywhere; a zero; and the digits that `waveOf` takes. */
export const specials: readonly number[] = [Infinity, NaN, 0, ...digits]
const specialNumbers = 3

// Where a function computes several numbers, `part` says which of them it returns.

/**
 * What the alphabet needs and gpu.js lacks, or has with other results. 32-bit integers are two halves, high and low, each
 * 0 … 65535, so that every step stays below 2²⁴ and is exact.
 */
export const functions: readonly KernelFunction[] = [
  // Low and high half of the product of two halves; one factor is taken in bytes.
  define("productLow", ["a", "b"], `
    const second = Math.floor(b / 256);
    const p = a * (b - 256 * second);
    const q = a * second;
    const s = p - 65536 * Math.floor(p / 65536) + 256 * (q - 256 * Math.floor(q / 256));
    return s >= 65536 ? s - 65536 : s;
  `),
  define("productHigh", ["a", "b"], `
    const second = Math.floor(b / 256);
    const p = a * (b - 256 * second);
    const q = a * second;
    const s = p - 65536 * Math.floor(p / 65536) + 256 * (q - 256 * Math.floor(q / 256));
    return Math.floor(p / 65536) + Math.floor(q / 256) + (s >= 65536 ? 1 : 0);
  `),
  // Quotient toward zero of whole numbers below 2²⁴; 0 for a zero divisor. The half keeps an inexact division from going below.
  define("quotient", ["a", "b"], `
    const x = Math.abs(a);
    const y = Math.abs(b);
    const d = y < 0.5 ? 1 : y;
    const near = Math.floor((x + 0.5) / d);
    const rest = x - near * d;
    const q = near + (rest >= d ? 1 : 0) - (rest < 0 ? 1 : 0);
    return y < 0.5 ? 0 : ((a < 0 && b > 0) || (a > 0 && b < 0) ? 0 - q : q);
  `),
  // Long division of unsigned 32-bit integers, bit by bit; 0 for a zero divisor. Parts: quotient low, high, remainder low, high.
  define("divide", ["ah", "al", "bh", "bl", "part"], `
    let h = ah; let l = al; let rh = 0; let rl = 0; let qh = 0; let ql = 0;
    for (let i = 0; i < 32; i++) {
      const top = h >= 32768 ? 1 : 0;
      const middle = l >= 32768 ? 1 : 0;
      h = h * 2 - top * 65536 + middle;
      l = l * 2 - middle * 65536;
      const over = rl >= 32768 ? 1 : 0;
      rh = rh * 2 + over;
      rl = rl * 2 - over * 65536 + top;
      const fits = rh > bh || (rh == bh && rl >= bl) ? 1 : 0;
      rl = rl - fits * bl;
      rh = rh - fits * bh;
      const borrow = rl < 0 ? 1 : 0;
      rl = rl + borrow * 65536;
      rh = rh - borrow;
      const carry = ql >= 32768 ? 1 : 0;
      qh = qh * 2 + carry;
      ql = ql * 2 - carry * 65536 + fits;
    }
    return bh + bl < 0.5 ? 0 : (part < 0.5 ? ql : (part < 1.5 ? qh : (part < 2.5 ? rl : rh)));
  `),
  // x·2ⁿ and ⌊x/2ⁿ⌋ of 32-bit integers; the high half is signed where the shift is arithmetic. Parts: low, high.
  define("shiftLeft", ["high", "low", "n", "part"], `
    const far = n >= 16 ? 1 : 0;
    const p = pow2(n - 16 * far);
    const l = low * p;
    const h = high * p - 65536 * Math.floor(high * p / 65536) + Math.floor(l / 65536);
    const rest = l - 65536 * Math.floor(l / 65536);
    return part < 0.5 ? (far > 0 ? 0 : rest) : (far > 0 ? rest : h);
  `),
  define("shiftRight", ["high", "low", "n", "part"], `
    const far = n >= 16 ? 1 : 0;
    const p = pow2(n - 16 * far);
    const top = Math.floor(high / p);
    const l = Math.floor(low / p) + (high - p * top) * (65536 / p);
    const fill = high < 0 ? 0 - 1 : 0;
    return part < 0.5 ? (far > 0 ? top - 65536 * Math.floor(top / 65536) : l) : (far > 0 ? fill + 65536 * (fill < 0 ? 1 : 0) : top - 65536 * Math.floor(top / 65536));
  `),
  // 2ⁿ for whole n, −149 ≤ n ≤ 127, by products that are exact.
  define("pow2", ["n"], `
    let e = Math.abs(n);
    let p = 1;
${timesPower2}    return p;
  `),
  // ⌊log₂ a⌋ for a normal number a.
  define("exponent", ["a"], `
    let m = a;
    let e = 0;
    if (m >= 18446744073709551616) { m = m * 5.421010862427522e-20; e = e + 64; }
    if (m >= 4294967296) { m = m * 2.3283064365386963e-10; e = e + 32; }
    if (m >= 65536) { m = m * 0.0000152587890625; e = e + 16; }
    if (m >= 256) { m = m * 0.00390625; e = e + 8; }
    if (m >= 16) { m = m * 0.0625; e = e + 4; }
    if (m >= 4) { m = m * 0.25; e = e + 2; }
    if (m >= 2) { m = m * 0.5; e = e + 1; }
    if (m < 1.0842021724855044e-19) { m = m * 18446744073709551616; e = e - 64; }
    if (m < 4.656612873077393e-10) { m = m * 4294967296; e = e - 32; }
    if (m < 0.000030517578125) { m = m * 65536; e = e - 16; }
    if (m < 0.0078125) { m = m * 256; e = e - 8; }
    if (m < 0.125) { m = m * 16; e = e - 4; }
    if (m < 0.5) { m = m * 4; e = e - 2; }
    if (m < 1) { m = m * 2; e = e - 1; }
    return e;
  `),
  // a/2ⁿ for that n: from 1 to 2.
  define("mantissa", ["a"], `
    let m = a;
    if (m >= 18446744073709551616) { m = m * 5.421010862427522e-20; }
    if (m >= 4294967296) { m = m * 2.3283064365386963e-10; }
    if (m >= 65536) { m = m * 0.0000152587890625; }
    if (m >= 256) { m = m * 0.00390625; }
    if (m >= 16) { m = m * 0.0625; }
    if (m >= 4) { m = m * 0.25; }
    if (m >= 2) { m = m * 0.5; }
    if (m < 1.0842021724855044e-19) { m = m * 18446744073709551616; }
    if (m < 4.656612873077393e-10) { m = m * 4294967296; }
    if (m < 0.000030517578125) { m = m * 65536; }
    if (m < 0.0078125) { m = m * 256; }
    if (m < 0.125) { m = m * 16; }
    if (m < 0.5) { m = m * 4; }
    if (m < 1) { m = m * 2; }
    return m;
  `),
  // The bits of an f32. Parts: low, high.
  define("bits", ["x", "part"], `
    const a = Math.abs(x);
    const normal = a >= 1.1754943508222875e-38 ? 1 : 0;
    const e = normal > 0 && a <= ${largest} ? exponent(a) : 0;
    const m = normal > 0 ? (mantissa(a) - 1) * 8388608 : a * 1.2676506002282294e30 * 562949953421312;
    const sign = x < 0 || (x == 0 && 1 / x < 0) ? 32768 : 0;
    const low = m - 65536 * Math.floor(m / 65536);
    const high = Math.floor(m / 65536) + (normal > 0 ? (e + 127) * 128 : 0) + sign;
    return a <= ${largest} ? (part < 0.5 ? low : high) : (part < 0.5 ? 0 : (x == x ? 32640 + sign : 32704));
  `),
  // The f32 of these bits; infinity and NaN are given, since gpu.js has no literals for them.
  define("fromBits", ["high", "low", "infinity", "nan"], `
    const sign = high >= 32768 ? 0 - 1 : 1;
    const rest = high >= 32768 ? high - 32768 : high;
    const e = Math.floor(rest / 128);
    const m = (rest - 128 * e) * 65536 + low;
    const finite = e > 0.5 ? (1 + m * 1.1920928955078125e-7) * pow2((e < 254.5 ? e : 254) - 127) : m * 7.888609052210118e-31 * 1.7763568394002505e-15;
    return sign * (e < 254.5 ? finite : (m < 0.5 ? infinity : nan));
  `),
  // The nearest whole number, ties to even, with the sign of x.
  define("nearestEven", ["x"], `
    const a = Math.abs(x);
    const f = Math.floor(a);
    const d = a - f;
    const odd = f - 2 * Math.floor(f / 2);
    const r = f + (d > 0.5 || (d == 0.5 && odd > 0.5) ? 1 : 0);
    return x == 0 ? x : (x < 0 ? -r : r);
  `),
  // x in a type with `digits` bits after the leading one, units no smaller than `least`, and nothing finite beyond `most`.
  define("rounded", ["x", "digits", "least", "most", "infinity"], `
    const a = Math.abs(x);
    const within = a >= 1.1754943508222875e-38 && a <= ${largest} ? a : 1;
    const own = pow2(Math.max(exponent(within) - digits, 0 - 149));
    const unit = a < 1.1754943508222875e-38 || own < least ? least : own;
    const r = nearestEven(a / unit) * unit;
    const held = r > most ? infinity : r;
    return a <= ${largest} ? (x == 0 ? x : (x < 0 ? -held : held)) : x;
  `),
  // The remainder of a by b with the sign of a, exactly: b times powers of two is subtracted from the largest down.
  define("remainder", ["a", "b", "nan"], `
    const y = Math.abs(b);
    let r = Math.abs(a);
    let t = y;
    for (let i = 0; i < 280; i++) {
      if (t * 2 <= r) { t = t * 2; }
    }
    for (let j = 0; j < 280; j++) {
      if (t >= y && r >= t) { r = r - t; }
      t = t * 0.5;
    }
    const signed = a < 0 || (a == 0 && 1 / a < 0) ? -r : r;
    return Math.abs(a) <= ${largest} && y > 0 ? signed : nan;
  `),

  // Functions of GPUs are off by many units and free to do anything with infinities and NaN; these are not. Ranges and
  // coefficients are those of Cephes; ≤ 2 ulp.

  // eˣ: x = n·ln 2 + r. One factor 2 is left for the end, so that only results overflow. It calls nothing: gpu.js puts
  // functions in the right order for GPUs only if those that several others call are leaves.
  define("expOf", ["x"], `
    const held = x > 89 ? 89 : (x < 0 - 104 ? 0 - 104 : x);
    const n = x == x ? Math.floor(held * 1.4426950408889634 + 0.5) : 0;
    const r = held - n * 0.693359375 + n * 0.000212194440;
    const q = ((((0.00019875691500 * r + 0.0013981999507) * r + 0.0083334519073) * r + 0.041665795894) * r + 0.16666665459) * r + 0.50000001201;
    let e = Math.abs(n) - (n == 0 ? 0 : 1);
    let p = q * r * r + r + 1;
${timesPower2}    return n == 0 ? p : (n < 0 ? p * 0.5 : p * 2);
  `),
  define("logOf", ["x", "infinity", "nan"], `
    const a = x >= 1.1754943508222875e-38 && x <= ${largest} ? x : 1;
    const whole = exponent(a);
    const scaled = mantissa(a);
    const far = scaled > 1.41421356 ? 1 : 0;
    const m = (far > 0 ? scaled * 0.5 : scaled) - 1;
    const e = whole + far;
    const z = m * m;
    const p = (((((((0.070376836292 * m - 0.11514610310) * m + 0.11676998740) * m - 0.12420140846) * m + 0.14249322787) * m - 0.16668057665) * m + 0.20000714765) * m - 0.24999993993) * m + 0.33333331174;
    const y = m + (p * m * z - e * 0.000212194440 - z * 0.5) + e * 0.693359375;
    return x > 0 && x <= ${largest} ? y : (x == 0 ? -infinity : (x < 0 ? nan : x));
  `),
  define("tanhOf", ["x"], `
    const a = Math.abs(x);
    const z = x * x;
    const small = ((((0.0206390887954 - 0.00570498872745 * z) * z - 0.0537397155531) * z + 0.133314422036) * z - 0.333332819422) * z * x + x;
    const large = 1 - 2 / (expOf(2 * (a > 9.1 ? 9.1 : a)) + 1);
    return a < 0.625 ? small : (x < 0 ? -large : large);
  `),
  define("atanOf", ["x"], `
    const a = Math.abs(x);
    const far = a > 2.414213562373095 ? 1 : 0;
    const mid = a > 0.4142135623730950 && far < 0.5 ? 1 : 0;
    const t = far > 0 ? -1 / a : (mid > 0 ? (a - 1) / (a + 1) : a);
    const z = t * t;
    const y = (((0.0805374449538 * z - 0.138776856032) * z + 0.199777106478) * z - 0.333329491539) * z * t + t;
    const from = far > 0 ? 1.5707963267948966 : (mid > 0 ? 0.7853981633974483 : 0);
    return x == 0 ? x : (x < 0 ? -(from + y) : from + y);
  `),
  // Where the twelve digits of 2/π stand that count for x.
  define("digitsAt", ["x"], `
    const a = Math.abs(x);
    return Math.floor((exponent(a >= 0.5 && a <= ${largest} ? a : 0.5) - 23) / 8) + 3 + ${specialNumbers};
  `),
  // The sine (quarter 0) or cosine (1). x·2/π modulo 4, from the digits (in base 256) that are neither too high to count nor too low.
  define("waveOf", ["x", "quarter", "nan", "d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9", "d10", "d11"], `
    const a = Math.abs(x);
    const held = a >= 0.5 && a <= ${largest} ? a : 0.5;
    const e = exponent(held) - 23;
    const whole = mantissa(held) * 8388608 * pow2(e - 8 * Math.floor(e / 8));
    const n3 = Math.floor(whole / 16777216);
    const below3 = whole - 16777216 * n3;
    const n2 = Math.floor(below3 / 65536);
    const below2 = below3 - 65536 * n2;
    const n1 = Math.floor(below2 / 256);
    const n0 = below2 - 256 * n1;
    const c8 = n0 * d8 + n1 * d9 + n2 * d10 + n3 * d11;
    const c7 = n0 * d7 + n1 * d8 + n2 * d9 + n3 * d10 + Math.floor(c8 / 256);
    const c6 = n0 * d6 + n1 * d7 + n2 * d8 + n3 * d9 + Math.floor(c7 / 256);
    const c5 = n0 * d5 + n1 * d6 + n2 * d7 + n3 * d8 + Math.floor(c6 / 256);
    const c4 = n0 * d4 + n1 * d5 + n2 * d6 + n3 * d7 + Math.floor(c5 / 256);
    const c3 = n0 * d3 + n1 * d4 + n2 * d5 + n3 * d6 + Math.floor(c4 / 256);
    const c2 = n0 * d2 + n1 * d3 + n2 * d4 + n3 * d5 + Math.floor(c3 / 256);
    const c1 = n0 * d1 + n1 * d2 + n2 * d3 + n3 * d4 + Math.floor(c2 / 256);
    const c0 = n0 * d0 + n1 * d1 + n2 * d2 + n3 * d3 + Math.floor(c1 / 256);
    const first = ((c1 - 256 * Math.floor(c1 / 256)) * 65536 + (c2 - 256 * Math.floor(c2 / 256)) * 256 + (c3 - 256 * Math.floor(c3 / 256))) / 16777216;
    const second = ((c4 - 256 * Math.floor(c4 / 256)) * 65536 + (c5 - 256 * Math.floor(c5 / 256)) * 256 + (c6 - 256 * Math.floor(c6 / 256))) / 16777216 / 16777216;
    const third = (c7 - 256 * Math.floor(c7 / 256)) / 16777216 / 16777216 / 256;
    const up = first >= 0.5 ? 1 : 0;
    const small = a < 0.7853981633974483 ? 1 : 0;
    const r = small > 0 ? a : ((first - up) + (second + third)) * 1.5707963267948966;
    const turns = (small > 0 ? 0 : c0 + up) + quarter;
    const k = turns - 4 * Math.floor(turns / 4);
    const z = r * r;
    const sine = ((0.0083321608736 - 0.00019515295891 * z) * z - 0.16666654611) * z * r + r;
    const cosine = ((0.00002443315711809948 * z - 0.001388731625493765) * z + 0.04166664568298827) * z * z - 0.5 * z + 1;
    const side = k == 1 || k == 3 ? cosine : sine;
    const value = k >= 2 ? -side : side;
    return a <= ${largest} ? (quarter > 0 ? value : (x == 0 ? x : (x < 0 ? -value : value))) : nan;
  `),
  // aᵇ = exp(b·ln a), with ln a and the product in two parts, since eˣ multiplies their errors by x.
  define("powOf", ["a", "b", "infinity", "nan"], `
    const size = Math.abs(a);
    const normal = size >= 1.1754943508222875e-38 && size <= ${largest} ? size : 1;
    const whole = exponent(normal);
    const scaled = mantissa(normal);
    const far = scaled > 1.41421356 ? 1 : 0;
    const m = far > 0 ? scaled * 0.5 : scaled;
    const e = whole + far;
    const f = m - 1;
    const g = m + 1;
    const s = f / g;
    const sh = halfOf(s);
    const gh = halfOf(g);
    const rest = ((f - sh * gh) - sh * (g - gh) - (s - sh) * g - s * (1 - (g - m))) / g;
    const z = s * s;
    const tail = z * s * (0.66666666667 + z * (0.4 + z * (0.28571428571 + z * (0.22222222222 + z * 0.18181818182))));
    const first = e * 0.693359375 + 2 * s;
    const lost = (e * 0.693359375 - first) + 2 * s;
    const low = lost + (2 * rest + tail - e * 0.00021219444005469057);
    const high = first + low;
    const under = (first - high) + low;
    const bounded = Math.abs(b) <= 1e30 ? b : (b > 0 ? 1e30 : (b < 0 ? 0 - 1e30 : 1));
    const product = bounded * high;
    const hh = halfOf(high);
    const bh = halfOf(bounded);
    const carried = Math.abs(product) < 200 ? (((bh * hh - product) + bh * (high - hh)) + (bounded - bh) * hh) + (bounded - bh) * (high - hh) + bounded * under : 0;
    const power = expOf(product);
    const finite = power > 0 && power <= ${largest} ? power + power * carried : power;
    const even = Math.floor(b / 2) * 2 == b ? 1 : 0;
    const isWhole = Math.floor(b) == b ? 1 : 0;
    const edge = size < 1.1754943508222875e-38 ? (b > 0 ? 0 : infinity) : (b > 0 ? infinity : 0);
    const value = size >= 1.1754943508222875e-38 && size <= ${largest} ? (size == 1 ? (Math.abs(b) <= ${largest} ? 1 : nan) : finite) : edge;
    const negative = a < 0 || (a == 0 && 1 / a < 0) ? 1 : 0;
    const signed = negative > 0 && isWhole > 0 && even < 0.5 ? -value : value;
    const valid = negative > 0 && isWhole < 0.5 && size > 0 && size <= ${largest} ? nan : signed;
    return b == 0 ? 1 : (a == a && b == b ? valid : nan);
  `),
  // The leading 12 bits of x, so that a product of two such is exact.
  define("halfOf", ["x"], `
    const u = pow2(exponent(Math.max(Math.abs(x), 1e-30)) - 11);
    return Math.floor(x / u) * u;
  `),
]
