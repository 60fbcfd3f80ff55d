import { isFloat } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { add, cast, constant, div, eq, log, lt, mul, neg, not, select, sub, type Expr } from "../expr.ts"
import { arange } from "../ops/create.ts"
import { add as plus, castTo, eq as equal, where } from "../ops/elementwise.ts"
import { reshape } from "../ops/movement.ts"
import { amax, amin } from "../ops/reduce.ts"
import { axisOf, type Shape } from "../shape.ts"
import type { Tensor } from "../tensor.ts"
import { draw, type Key } from "./key.ts"
import { mixed } from "./uniform.ts"

const c = (value: number): Expr => constant("f32", value)

const drawGumbel = draw<undefined>("gumbel", (words) => {
  const k = mixed(words)
  const share = (n: Expr): Expr => mul(add(cast(n, "f32"), c(0.5)), c(2 ** -32))
  const small = share(k), rest = share(not(k))
  // -log(1 - small): for small ones by log1p(v) = v·log(w)/(w - 1), w = 1 + v rounded (Kahan), as the largest draws, which decide, are -log of it.
  const w = sub(c(1), small)
  const direct = neg(log(rest))
  const careful = select(eq(w, c(1)), small, mul(small, div(log(w), sub(w, c(1)))))
  return neg(log(select(lt(small, c(0.25)), careful, direct)))
})
/** Gumbel numbers, −log(−log(u)) of 32 random bits; the largest is 22.9. f32. */
export const gumbel = (key: Key, shape: Shape): Tensor => drawGumbel(key, shape, "f32", undefined)

/**
 * Draws an index along `axis` with probability softmax(logits): the place of the largest logit plus Gumbel noise
 * (Gumbel 1954; Maddison, Tarlow, Minka 2014). i32, without the axis. A logit of −∞ is never drawn.
 */
export function categorical(key: Key, logits: Tensor, { axis = -1 }: { readonly axis?: number } = {}): Tensor {
  if (!isFloat(logits.dtype)) fail("dtype", "categorical", `needs float logits, got ${logits.dtype}`, "take the log of counts")
  const a = axisOf("categorical", axis, logits.rank), n = logits.shape[a]!
  if (n === 0) fail("shape", "categorical", `nothing to draw from in ${showShape(logits.shape)}`)
  const noisy = plus(castTo(logits, "f32"), gumbel(key, logits.shape))
  const places = reshape(arange(0, n), logits.shape.map((_, i) => (i === a ? n : 1)))
  return amin(where(equal(noisy, amax(noisy, { axis: a, keepDims: true })), places, n - 1), { axis: a })
}
