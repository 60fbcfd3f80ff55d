// Rounding as ggml does it. Everything here is f32 with one rounding per operation, so `f` stands around each.

/** Rounds to f32: one operation of ggml's is `f(a · b)`. */
export const f = Math.fround
/** Below this largest magnitude a group counts as zero. */
export const nothing = f(1e-15)

/** Half to even, of an f32: adding 1.5 · 2⁵² leaves no place for a fraction. (ggml adds 1.5 · 2²³ in f32, which is slower here.) */
export const nearest = (v: number): number => v + 6755399441055744 - 6755399441055744
/** Half away from zero, like C's roundf, of an f32 below 2³⁰: what its fraction adds to a half, without a branch on the sign. */
export const roundAway = (v: number): number => ((2 * v) | 0) - (v | 0)

export const clamp = (v: number, low: number, high: number): number => (v < low ? low : v > high ? high : v)
