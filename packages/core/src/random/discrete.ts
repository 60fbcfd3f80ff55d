import { checkDType, dtypes, isFloat, isInteger, scalarOf, type DType } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { add, and, bitcast, constant, int, lt, mul, select, shr, type Expr } from "../expr.ts"
import { castTo, div, eq, lt as less, mul as times, sub, where, type Input } from "../ops/elementwise.ts"
import { broadcastShapes, sameShape, type Shape } from "../shape.ts"
import { apply, Tensor, type Op } from "../tensor.ts"
import { bits, uniform } from "./uniform.ts"
import { draw, type Key } from "./key.ts"

const word = (value: number): Expr => constant("u32", value)

/** High 32 bits of the product of a word and a constant, by 16-bit halves. */
function highProduct(a: Expr, n: number): Expr {
  const low = and(a, word(0xffff)), high = shr(a, word(16))
  const n0 = word(n & 0xffff), n1 = word(n >>> 16)
  const cross = add(mul(high, n0), shr(mul(low, n0), word(16)))
  const carry = add(and(cross, word(0xffff)), mul(low, n1))
  return add(add(mul(high, n1), shr(cross, word(16))), shr(carry, word(16)))
}

const drawInteger = draw<{ low: number; span: number }>("randint", ([a, b], dtype, { low, span }) => {
  // ⌊w·span / 2⁶⁴⌋ for the 64-bit word w = a·2³² + b (Lemire 2019, without the rejection step).
  const carry = highProduct(b, span), rest = mul(a, word(span))
  const whole = add(rest, carry)
  const offset = span === 2 ** 32 ? a : add(highProduct(a, span), select(lt(whole, rest), word(1), word(0)))
  return scalarOf(dtype) === "u32" ? add(offset, word(low)) : add(bitcast(offset, "i32"), int(low))
})

export interface RandintOptions {
  /** Least value; 0 unless given. */
  readonly low?: number
  /** What values stay below. */
  readonly high: number
  /** An integer type; i32 unless given. */
  readonly dtype?: DType
}
/** Integers, low ≤ n < high, the same on every device; no value is favoured by more than (high − low)·2⁻⁶⁴. */
export function randint(key: Key, shape: Shape, { low = 0, high, dtype = "i32" }: RandintOptions): Tensor {
  if (!isInteger(checkDType("randint", dtype))) fail("dtype", "randint", `draws integers, got ${dtype}`, "uniform draws floats")
  const { kind, bytes } = dtypes[dtype]
  const least = kind === "uint" ? 0 : -(2 ** (8 * bytes - 1)), end = least + 2 ** (8 * bytes)
  if (!(Number.isInteger(low) && Number.isInteger(high) && low < high)) fail("value", "randint", `needs whole numbers low < high, got ${low} and ${high}`)
  if (low < least || high > end) fail("value", "randint", `${low} … ${high - 1} does not fit ${dtype} (${least} … ${end - 1})`, "ask for a wider dtype")
  return drawInteger(key, shape, dtype, { low, span: high - low })
}

function checkProbability(op: string, what: string, p: Input): void {
  if (typeof p === "number" ? !(p >= 0 && p <= 1) : p instanceof Tensor ? !isFloat(p.dtype) : true)
    fail("value", op, `${what} must be in 0 … 1, got ${p instanceof Tensor ? p.dtype : String(p)}`)
}

/** true with probability p (a number, or a tensor that broadcasts to `shape`), to 2⁻²⁴; the same on every device. */
export function bernoulli(key: Key, shape: Shape, p: number | Tensor = 0.5): Tensor {
  checkProbability("bernoulli", "the probability", p)
  if (p instanceof Tensor && !sameShape(broadcastShapes("bernoulli", p.shape, shape), shape))
    fail("shape", "bernoulli", `probabilities ${showShape(p.shape)} do not broadcast to ${showShape(shape)}`)
  return less(uniform(key, shape), p)
}

/**
 * Zeroes each element with probability `rate` and divides the others by 1 − rate, so that the mean stays (Srivastava et
 * al. 2014). The rate may be a run-time value; at a rate of 1 all is zero.
 */
export function dropout(x: Tensor, rate: number | Tensor, key: Key): Tensor {
  if (!isFloat(x.dtype)) fail("dtype", "dropout", `needs floats, got ${x.dtype}`)
  checkProbability("dropout", "the rate", rate)
  if (rate === 0) return x
  const keep = sub(1, rate)
  const scale = typeof rate === "number" ? (rate === 1 ? 0 : 1 / (1 - rate)) : where(eq(keep, 0), 0, div(1, keep))
  return castTo(where(bernoulli(key, x.shape, keep), times(x, scale), 0), x.dtype)
}

const permutationOp: Op<undefined> = {
  name: "permutation",
  meaning: {
    // Fisher and Yates, as Durstenfeld (1964); the double product is exact enough for a bias below n·2⁻³².
    routine: ([words], node) => {
      const order = Int32Array.from({ length: node.size }, (_, i) => i)
      for (let i = order.length - 1; i > 0; i--) {
        const j = Math.floor((words!.data[i]! / 2 ** 32) * (i + 1))
        const held = order[i]!
        order[i] = order[j]!
        order[j] = held
      }
      return order
    },
  },
  result: ([words]) => ({ shape: words!.shape, dtype: "i32" }),
}
/** 0 … n−1 in random order, i32; the same on every device (the host shuffles). */
export function permutation(key: Key, n: number): Tensor {
  if (!Number.isInteger(n) || n < 0) fail("value", "permutation", `needs a whole number ≥ 0, got ${n}`)
  return apply(permutationOp, [bits(key, [n])], undefined)
}
