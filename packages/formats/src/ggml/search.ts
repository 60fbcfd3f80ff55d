// The searches for scales that ggml's encoders share, operation for operation: f32 throughout, sums from left to right.
import { clamp, f, nearest, nothing } from "./round.ts"

const tenth = f(0.1)

/** The element of largest magnitude, the first of several. */
function extremeOf(n: number, x: Float32Array, from: number): number {
  let extreme = 0
  for (let i = 0; i < n; i++) if (Math.abs(x[from + i]!) > Math.abs(extreme)) extreme = x[from + i]!
  return extreme
}

/**
 * A scale s for x ≈ s · l with l in −top … top−1: least squares, tried at 19 steps around the one that brings the
 * element of largest magnitude to −top. Codes are stored as l + top. Weights are x² unless given.
 */
export function symmetric(n: number, top: number, x: Float32Array, from: number, weights: Float32Array | undefined, weightsFrom: number, codes: Uint8Array, at: number): number {
  const extreme = extremeOf(n, x, from)
  if (Math.abs(extreme) < nothing) {
    codes.fill(0, at, at + n)
    return 0
  }
  let scale = 0, best = 0
  for (let t = -10; t <= 9; t++) {
    // The first try is the plain one.
    if (t === 0) continue
    const step = t === -10 ? 0 : t
    const inverse = f(-f(top + f(tenth * step)) / extreme)
    let sx = 0, s2 = 0
    for (let i = 0; i < n; i++) {
      const v = x[from + i]!
      const l = clamp(nearest(f(inverse * v)), -top, top - 1)
      const w = weights === undefined ? f(v * v) : weights[weightsFrom + i]!
      sx = f(sx + f(f(w * v) * l))
      s2 = f(s2 + f(f(w * l) * l))
    }
    if (t === -10 || (s2 > 0 && f(sx * sx) > f(best * s2))) {
      for (let i = 0; i < n; i++) codes[at + i] = clamp(nearest(f(inverse * x[from + i]!)), -top, top - 1) + top
      scale = s2 === 0 ? 0 : f(sx / s2)
      best = f(scale * sx)
    }
  }
  return scale
}

/** As {@link symmetric} with weights x², but instead of other scales it tries other codes, one at a time, for up to five sweeps. */
export function symmetricBySweeps(n: number, top: number, x: Float32Array, from: number, codes: Uint8Array, at: number): number {
  const extreme = extremeOf(n, x, from)
  if (Math.abs(extreme) < nothing) {
    codes.fill(0, at, at + n)
    return 0
  }
  const inverse = f(-top / extreme)
  let sx = 0, s2 = 0
  for (let i = 0; i < n; i++) {
    const v = x[from + i]!, w = f(v * v)
    const l = clamp(nearest(f(inverse * v)), -top, top - 1)
    codes[at + i] = l + top
    sx = f(sx + f(f(w * v) * l))
    s2 = f(s2 + f(f(w * l) * l))
  }
  for (let sweep = 0, changed = true; sweep < 5 && changed; sweep++) {
    changed = false
    for (let i = 0; i < n; i++) {
      const v = x[from + i]!, w = f(v * v), l = codes[at + i]! - top
      let a = f(sx - f(f(w * v) * l))
      if (!(a > 0)) continue
      let b = f(s2 - f(f(w * l) * l))
      const next = clamp(nearest(f(f(v * b) / a)), -top, top - 1)
      if (next === l) continue
      a = f(a + f(f(w * v) * next))
      b = f(b + f(f(w * next) * next))
      if (b > 0 && f(f(a * a) * s2) > f(f(sx * sx) * b)) {
        codes[at + i] = next + top
        sx = a
        s2 = b
        changed = true
      }
    }
  }
  return s2 > 0 ? f(sx / s2) : 0
}

export interface AffineSearch {
  /** Largest code. */
  readonly top: number
  /** Steps to try are (top + first + rise · t) / (max − min), t = 0 … tries. */
  readonly first: number
  readonly rise: number
  readonly tries: number
  /** Whether errors count by magnitude instead of squared. */
  readonly magnitude?: boolean
}

/** What {@link affine} finds: x ≈ scale · l − drop, drop ≥ 0. */
export interface Affine { scale: number; drop: number }

const trial = new Uint8Array(32)

/** Scale and drop for x ≈ scale · l − drop with l in 0 … top: least squares from several starts, the one with the least error. */
export function affine(n: number, { top, first, rise, tries, magnitude }: AffineSearch, x: Float32Array, from: number, weights: Float32Array, weightsFrom: number, codes: Uint8Array, at: number, found: Affine): void {
  let min = x[from]!, max = min, sw = 0, sx = 0
  for (let i = 0; i < n; i++) {
    const v = x[from + i]!, w = weights[weightsFrom + i]!
    if (v < min) min = v
    if (v > max) max = v
    sw = f(sw + w)
    sx = f(sx + f(w * v))
  }
  if (min > 0) min = 0
  if (max <= min) {
    codes.fill(0, at, at + n)
    found.scale = 0
    found.drop = -min
    return
  }
  let inverse = f(top / f(max - min))
  let scale = f(1 / inverse), best = 0
  for (let i = 0; i < n; i++) {
    const v = x[from + i]!
    const l = clamp(nearest(f(inverse * f(v - min))), 0, top)
    codes[at + i] = l
    const d = f(f(f(scale * l) + min) - v)
    best = f(best + f(weights[weightsFrom + i]! * (magnitude ? Math.abs(d) : f(d * d))))
  }
  for (let t = 0; t <= tries; t++) {
    // `min` is the best one so far, `max` never changes: so does ggml.
    inverse = f(f(f(first + f(rise * t)) + top) / f(max - min))
    let sl = 0, sl2 = 0, sxl = 0
    for (let i = 0; i < n; i++) {
      const v = x[from + i]!, w = weights[weightsFrom + i]!
      const l = clamp(nearest(f(inverse * f(v - min))), 0, top)
      trial[i] = l
      const wl = f(w * l)
      sl = f(sl + wl)
      sl2 = f(sl2 + f(wl * l))
      sxl = f(sxl + f(wl * v))
    }
    const determinant = f(f(sw * sl2) - f(sl * sl))
    if (!(determinant > 0)) continue
    let nextScale = f(f(f(sw * sxl) - f(sx * sl)) / determinant)
    let nextMin = f(f(f(sl2 * sx) - f(sl * sxl)) / determinant)
    if (nextMin > 0) {
      nextMin = 0
      nextScale = f(sxl / sl2)
    }
    let error = 0
    for (let i = 0; i < n; i++) {
      const d = f(f(f(nextScale * trial[i]!) + nextMin) - x[from + i]!)
      error = f(error + f(weights[weightsFrom + i]! * (magnitude ? Math.abs(d) : f(d * d))))
    }
    if (error < best) {
      for (let i = 0; i < n; i++) codes[at + i] = trial[i]!
      best = error
      scale = nextScale
      min = nextMin
    }
  }
  found.scale = scale
  found.drop = -min
}

/** A scale s for x ≈ s · l, x ≥ 0, l in 0 … top: the best of nine steps, then sweeps over the codes. */
export function positive(n: number, top: number, x: Float32Array, weights: Float32Array, codes: Uint8Array): number {
  let max = 0
  for (let i = 0; i < n; i++) if (x[i]! > max) max = x[i]!
  if (max < nothing) {
    codes.fill(0, 0, n)
    return 0
  }
  let inverse = f(top / max), best = 0
  for (let t = -5; t <= 4; t++) {
    if (t === 0) continue
    const plain = t === -5
    const tried = plain ? inverse : f(f(f(tenth * t) + top) / max)
    const scale = f(1 / tried)
    let error = 0
    for (let i = 0; i < n; i++) {
      const l = nearest(f(tried * x[i]!))
      const d = f(x[i]! - f(scale * (plain ? l : Math.min(top, l))))
      error = f(error + f(f(weights[i]! * d) * d))
    }
    if (plain || error < best) {
      best = error
      inverse = tried
    }
  }
  let sx = 0, s2 = 0
  for (let i = 0; i < n; i++) {
    const v = x[i]!, w = weights[i]!
    const l = Math.min(top, nearest(f(inverse * v)))
    codes[i] = l
    sx = f(sx + f(f(w * v) * l))
    s2 = f(s2 + f(f(w * l) * l))
  }
  for (let sweep = 0, changed = true; sweep < 5 && changed; sweep++) {
    changed = false
    for (let i = 0; i < n; i++) {
      const v = x[i]!, w = weights[i]!, l = codes[i]!
      let a = f(sx - f(f(w * v) * l)), b = f(s2 - f(f(w * l) * l))
      if (!(a > 0 && b > 0)) continue
      const next = Math.min(top, nearest(f(f(v * b) / a)))
      if (next === l) continue
      a = f(a + f(f(w * v) * next))
      b = f(b + f(f(w * next) * next))
      if (f(f(a * a) * s2) > f(f(sx * sx) * b)) {
        codes[i] = next
        sx = a
        s2 = b
        changed = true
      }
    }
  }
  return s2 > 0 ? f(sx / s2) : 0
}

/** weight = importance · √(spread + x²): columns that matter count more, and so do large elements. */
export function weigh(n: number, x: Float32Array, from: number, importance: Float32Array, spread: number, into: Float32Array, at: number): void {
  for (let i = 0; i < n; i++) into[at + i] = f(importance[from + i]! * f(Math.sqrt(f(spread + f(x[from + i]! * x[from + i]!)))))
}

/** Σ x² of a stretch. */
export function squares(n: number, x: Float32Array, from: number): number {
  let sum = 0
  for (let i = 0; i < n; i++) sum = f(sum + f(x[from + i]! * x[from + i]!))
  return sum
}
