import { bytesOf, checkDType, decode, encode, isFloat, type DType } from "../dtype.ts"
import { fail } from "../errors.ts"
import { add, cast, constant, max, min, mul, shr, xor, type Expr } from "../expr.ts"
import type { Shape } from "../shape.ts"
import type { Tensor } from "../tensor.ts"
import { draw, type Key } from "./key.ts"
import type { Words } from "./threefry.ts"

const word = (value: number): Expr => constant("u32", value)
/** The 32 random bits of a block. */
export const mixed = ([a, b]: Words): Expr => xor(a, b)

const drawBits = draw<undefined>("bits", mixed)
/**
 * Random 32-bit words, u32, exactly the same on every device. They are those of `jax.random.bits` (with its
 * partitionable Threefry, the default), as are the keys of `key`, {@link split} and {@link foldIn}.
 */
export const bits = (key: Key, shape: Shape): Tensor => drawBits(key, shape, "u32", undefined)

/** How many bits a float of each type holds exactly. */
const precision: Partial<Record<DType, number>> = { f64: 53, f32: 24, f16: 11, bf16: 8 }

/** A float in [0, 1), a multiple of 2⁻ᵖ with p the precision of its type: every step of it is exact. */
export function unit(words: Words, dtype: DType): Expr {
  if (dtype === "f64") {
    const high = cast(shr(words[0], word(5)), "f64"), low = cast(shr(words[1], word(6)), "f64")
    return mul(add(mul(high, constant("f64", 2 ** 26)), low), constant("f64", 2 ** -53))
  }
  const p = precision[dtype]!
  return mul(cast(shr(mixed(words), word(32 - p)), "f32"), constant("f32", 2 ** -p))
}

export interface UniformOptions {
  /** Least value; 0 unless given. */
  readonly low?: number
  /** What values stay below; 1 unless given. */
  readonly high?: number
  /** A float type; f32 unless given. */
  readonly dtype?: DType
}
interface Span { readonly low: number; readonly high: number; readonly least: number; readonly most: number }

const drawUniform = draw<Span>("uniform", (words, dtype, { low, high, least, most }) => {
  const u = unit(words, dtype)
  if (low === 0 && high === 1) return u
  const c = (value: number): Expr => constant(u.type, value)
  const scaled = mul(u, c(high - low))
  return min(max(low === 0 ? scaled : add(scaled, c(low)), c(least)), c(most))
})

/**
 * Uniform numbers, low ≤ x < high, in steps of (high − low)·2⁻²⁴ (2⁻¹¹ for f16, 2⁻⁸ for bf16, 2⁻⁵³ for f64). On [0, 1)
 * they are exactly the same on every device, elsewhere to one unit in the last place (a device may fuse multiply and add).
 */
export function uniform(key: Key, shape: Shape, { low = 0, high = 1, dtype = "f32" }: UniformOptions = {}): Tensor {
  checkFloat("uniform", dtype)
  if (!(Number.isFinite(low) && Number.isFinite(high) && low < high)) fail("value", "uniform", `needs finite low < high, got ${low} and ${high}`)
  const least = nearest(dtype, low, 1), most = nearest(dtype, high, -1)
  if (!(least <= most && Number.isFinite(high - low))) fail("value", "uniform", `no ${dtype} lies between ${low} and ${high}`, "use a wider interval or type")
  return drawUniform(key, shape, dtype, { low, high, least, most })
}

export function checkFloat(op: string, dtype: DType): void {
  if (!isFloat(checkDType(op, dtype))) fail("dtype", op, `draws floats, got ${dtype}`, "randint draws integers")
}

/** The next value of a type at or above x (`toward` 1), or one of the last few below it (`toward` -1). */
function nearest(dtype: DType, x: number, toward: 1 | -1): number {
  const rounded = (v: number): number => (bytesOf(dtype) === 2 ? decode(dtype, encode(dtype, v)) : dtype === "f32" ? Math.fround(v) : v)
  const quarter = Math.max(Math.abs(x), 2 ** -14) * 2 ** -(precision[dtype]! + 1)
  let v = rounded(x)
  for (let step = quarter; toward > 0 ? v < x : v >= x; step *= 2) v = rounded(x + toward * step)
  return v
}
