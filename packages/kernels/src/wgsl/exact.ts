// Remainders, quotients and roots rounded correctly, for drivers whose own only come near: rows of the library of functions.
import type { MathFunction } from "./numbers.ts"

export const exactFunctions = {
  /** a − b·trunc(a/b), exactly: long division of the mantissas, eight bits at a time. */
  rem: {
    needs: ["isNan", "special"],
    text: `fn remOf(a: f32, b: f32) -> f32 {
  let x = bitcast<u32>(a) & 0x7fffffffu;
  let y = bitcast<u32>(b) & 0x7fffffffu;
  if (isNan(a) || isNan(b) || x == 0x7f800000u || y == 0u) { return special(0x7fc00000u); }
  if (x < y) { return a; }
  let ex = max(x >> 23u, 1u);
  let ey = max(y >> 23u, 1u);
  let mx = select(x & 0x007fffffu, (x & 0x007fffffu) | 0x00800000u, x >= 0x00800000u);
  let my = select(y & 0x007fffffu, (y & 0x007fffffu) | 0x00800000u, y >= 0x00800000u);
  var r = mx % my;
  var left = ex - ey;
  while (left > 0u && r != 0u) {
    let step = min(left, 8u);
    r = (r << step) % my;
    left -= step;
  }
  let sign = bitcast<u32>(a) & 0x80000000u;
  if (r == 0u) { return bitcast<f32>(sign); }
  let zeros = countLeadingZeros(r) - 8u;
  if (zeros >= ey) { return bitcast<f32>(sign | (r << (ey - 1u))); }
  return bitcast<f32>(sign | ((ey - zeros) << 23u) | ((r << zeros) & 0x007fffffu));
}`,
  },
  /** Mantissa and exponent (of the mantissa as an integer) of a positive finite number, subnormal ones normalized. */
  split: {
    text: `fn split(bits: u32) -> vec2<i32> {
  let low = bits & 0x007fffffu;
  if (bits < 0x00800000u) {
    let zeros = countLeadingZeros(low) - 8u;
    return vec2<i32>(i32(low << zeros), -149 - i32(zeros));
  }
  return vec2<i32>(i32(low | 0x00800000u), i32(bits >> 23u) - 150);
}`,
  },
  /**
   * Division rounded correctly, for drivers that only come near: their quotient of the mantissas, 25 bits of it, is a guess that is off by a
   * few units, so that what is left of the dividend fits into 32 bits and tells by how many.
   */
  div: {
    needs: ["split", "rounded"],
    text: `fn divOf(a: f32, b: f32) -> f32 {
  let x = bitcast<u32>(a) & 0x7fffffffu;
  let y = bitcast<u32>(b) & 0x7fffffffu;
  let sign = (bitcast<u32>(a) ^ bitcast<u32>(b)) & 0x80000000u;
  // Compilers take a number over itself for 1, and do not think of infinities.
  if (x >= 0x7f800000u || y >= 0x7f800000u || x == 0u || y == 0u) { return a / rounded(b); }
  let p = split(x);
  let q = split(y);
  let borrows = p.x < q.x;
  let m = u32(p.x) << select(0u, 1u, borrows);
  let d = q.x;
  let exponent = p.y - q.y + select(127, 126, borrows);
  let near = 1f / f32(d);
  let guess = i32(f32(m) * near * 16777216f);
  let off = i32(m << 24u) - guess * d;
  let more = i32(floor(f32(off) * near));
  let rest = off - more * d;
  let last = select(select(0, 1, rest >= d), -1, rest < 0);
  let digits = u32(guess + more + last);
  let exact = rest == last * d;
  if (exponent >= 255) { return bitcast<f32>(sign | 0x7f800000u); }
  let by = u32(clamp(2 - exponent, 1, 26));
  let left = digits >> by;
  let lost = digits & ((1u << by) - 1u);
  let half = 1u << (by - 1u);
  let up = lost > half || (lost == half && (!exact || (left & 1u) == 1u));
  let bits = left + select(0u, 1u, up) + select(0u, (u32(exponent) << 23u) - 0x00800000u, exponent >= 1);
  return bitcast<f32>(sign | bits);
}`,
  },
  /**
   * The same by fused multiplications (Markstein 1990), in the midst of the exponents: there neither quotient nor remainder leaves the normal numbers.
   * Two steps of Newton's, of the reciprocal and of the quotient, and a last one that rounds.
   */
  fusedDiv: {
    needs: ["div"],
    text: `fn fusedDivOf(a: f32, b: f32) -> f32 {
  let x = (bitcast<u32>(a) >> 23u) & 0xffu;
  let y = (bitcast<u32>(b) >> 23u) & 0xffu;
  if (max(x, y) > 174u || min(x, y) < 80u) { return divOf(a, b); }
  let near = 1f / b;
  let rate = fma(fma(-b, near, 1f), near, near);
  let guess = a * rate;
  let close = fma(fma(-b, guess, a), rate, guess);
  return fma(fma(-b, close, a), rate, close);
}`,
  },
  /** Root rounded correctly, two bits of the mantissa at a time. */
  sqrt: {
    needs: ["split", "special", "isNan"],
    text: `fn sqrtOf(x: f32) -> f32 {
  let all = bitcast<u32>(x);
  if (all == 0u || all == 0x80000000u || all == 0x7f800000u || isNan(x)) { return x; }
  if (all > 0x80000000u) { return special(0x7fc00000u); }
  let parts = split(all);
  let m = u32(parts.x);
  let odd = parts.y & 1;
  let shift = 26 - odd;
  var root = 0u;
  var rest = 0u;
  for (var at = 48; at >= 0; at -= 2) {
    let next = select(m << u32(max(shift - at, 0)), m >> u32(max(at - shift, 0)), at >= shift) & 3u;
    rest = (rest << 2u) | next;
    let trial = (root << 2u) | 1u;
    let fits = rest >= trial;
    rest = select(rest, rest - trial, fits);
    root = (root << 1u) | select(0u, 1u, fits);
  }
  let rounded = (root >> 1u) + (root & 1u);
  return bitcast<f32>((u32((parts.y + odd) / 2 + 138) << 23u) + rounded - 0x00800000u);
}`,
  },
  /** The same by fused multiplications, as `fusedDiv`: a step of Newton's for the root and half its reciprocal, and a last one that rounds. */
  fusedSqrt: {
    needs: ["sqrt"],
    text: `fn fusedSqrtOf(x: f32) -> f32 {
  let exponent = bitcast<u32>(x) >> 23u;
  if (exponent > 174u || exponent < 80u) { return sqrtOf(x); }
  let near = inverseSqrt(x);
  let guess = x * near;
  let half = 0.5f * near;
  let left = fma(-half, guess, 0.5f);
  let root = fma(guess, left, guess);
  return fma(fma(-root, root, x), fma(half, left, half), root);
}`,
  },
} as const satisfies Record<string, MathFunction>
