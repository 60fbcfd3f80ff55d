// Rounding as ggml does it. Everything here is f32 with one rounding per operation, so `f` stands around each.

/** Rounds to f32: one operation of ggml's is `f(a · b)`. */
export const f = Math.fround
/** Below this largest magnitude a group counts as zero. */
export const nothing = f(1e-15)

/** Half to even, for |v| < 2²²: adding 1.5 · 2²³ leaves no place for a fraction. */
export const nearest = (v: number): number => f(v + 12582912) - 12582912
/** Half away from zero, like C's roundf. */
export const roundAway = (v: number): number => (v < 0 ? -Math.floor(0.5 - v) : Math.floor(v + 0.5))

export const clamp = (v: number, low: number, high: number): number => (v < low ? low : v > high ? high : v)
