/** A function that kernels may call, in gpu.js's part of JavaScript: every argument and result is an f32 number. */
export interface KernelFunction { readonly name: string; readonly parameters: readonly string[]; readonly source: string }

const define = (name: string, parameters: readonly string[], body: string): KernelFunction =>
  ({ name, parameters, source: `function ${name}(${parameters.join(", ")}) {${body}}` })

/** The largest finite f32. */
const largest = 3.4028234663852886e38

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
    if (e >= 64) { p = p * (n < 0 ? 5.421010862427522e-20 : 18446744073709551616); e = e - 64; }
    if (e >= 64) { p = p * 5.421010862427522e-20; e = e - 64; }
    if (e >= 32) { p = p * (n < 0 ? 2.3283064365386963e-10 : 4294967296); e = e - 32; }
    if (e >= 16) { p = p * (n < 0 ? 0.0000152587890625 : 65536); e = e - 16; }
    if (e >= 8) { p = p * (n < 0 ? 0.00390625 : 256); e = e - 8; }
    if (e >= 4) { p = p * (n < 0 ? 0.0625 : 16); e = e - 4; }
    if (e >= 2) { p = p * (n < 0 ? 0.25 : 4); e = e - 2; }
    if (e >= 1) { p = p * (n < 0 ? 0.5 : 2); }
    return p;
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
  // The bits of an f32. Parts: low, high.
  define("bits", ["x", "part"], `
    const a = Math.abs(x);
    const normal = a >= 1.1754943508222875e-38 ? 1 : 0;
    const e = normal > 0 && a <= ${largest} ? exponent(a) : 0;
    const m = normal > 0 ? (a * pow2(0 - e) - 1) * 8388608 : a * 1.2676506002282294e30 * 562949953421312;
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
  define("roundEven", ["x"], `
    const a = Math.abs(x);
    const f = Math.floor(a);
    const d = a - f;
    const odd = f - 2 * Math.floor(f / 2);
    const r = f + (d > 0.5 || (d == 0.5 && odd > 0.5) ? 1 : 0);
    return x == 0 ? x : (x < 0 ? -r : r);
  `),
  // x in a type with \`digits\` bits after the leading one, units no smaller than \`least\`, and nothing finite beyond \`most\`.
  define("rounded", ["x", "digits", "least", "most", "infinity"], `
    const a = Math.abs(x);
    const within = a >= 1.1754943508222875e-38 && a <= ${largest} ? a : 1;
    const own = pow2(Math.max(exponent(within) - digits, 0 - 149));
    const unit = a < 1.1754943508222875e-38 || own < least ? least : own;
    const r = roundEven(a / unit) * unit;
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
]
