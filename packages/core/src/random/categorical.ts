import { isFloat } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { add, cast, constant, log, lt, mul, neg, not, select, type Expr } from "../expr.ts"
import { add as plus, castTo } from "../ops/elementwise.ts"
import { argmax } from "../ops/extreme.ts"
import { log1p } from "../ops/formula.ts"
import { axisOf, type Shape } from "../shape.ts"
import type { Tensor } from "../tensor.ts"
import { draw, type Key } from "./key.ts"
import { mixed } from "./uniform.ts"

const c = (value: number): Expr => constant("f32", value)

const drawGumbel = draw<undefined>("gumbel", (words) => {
  const k = mixed(words)
  const share = (n: Expr): Expr => mul(add(cast(n, "f32"), c(0.5)), c(2 ** -32))
  const small = share(k), rest = share(not(k))
  // -log(1 - small): the largest draws, which decide, are -log of small ones.
  return neg(log(select(lt(small, c(0.25)), neg(log1p(neg(small))), neg(log(rest)))))
})
/** Gumbel numbers, −log(−log(u)) of 32 random bits; the largest is 22.9. f32. */
export const gumbel = (key: Key, shape: Shape): Tensor => drawGumbel(key, shape, "f32", undefined)

/**
 * Draws an index along `axis` with probability softmax(logits): the place of the largest logit plus Gumbel noise
 * (Gumbel 1954; Maddison, Tarlow, Minka 2014). i32, without the axis. A logit of −∞ is never drawn;
 * NaN always is. Devices agree but for logits that the noise makes equal to 4e-6.
 */
export function categorical(key: Key, logits: Tensor, { axis = -1 }: { readonly axis?: number } = {}): Tensor {
  if (!isFloat(logits.dtype)) fail("dtype", "categorical", `needs float logits, got ${logits.dtype}`, "take the log of counts")
  const a = axisOf("categorical", axis, logits.rank), n = logits.shape[a]!
  if (n === 0) fail("shape", "categorical", `nothing to draw from in ${showShape(logits.shape)}`)
  const noisy = plus(castTo(logits, "f32"), gumbel(key, logits.shape))
  return argmax(noisy, { axis: a })
}
