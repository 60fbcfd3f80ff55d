import { isInteger, type DType } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { bitcast, cast, constant, eq, int, select, shr, type Expr } from "../expr.ts"
import { literal } from "../literal.ts"
import { flatIndex } from "../coordinates.ts"
import { selectAt } from "../ops/movement.ts"
import { checkShape, type Shape } from "../shape.ts"
import { apply, Tensor, type Op } from "../tensor.ts"
import { threefry, type Words } from "./threefry.ts"

/**
 * The state of the generator, u32[2]. Keys are values: the same key gives the same numbers, and what has to be
 * independent gets keys of its own, by {@link split} or {@link foldIn}. A key may be an argument of a compiled function.
 */
export type Key = Tensor

const seedOp: Op<undefined> = {
  name: "key",
  meaning: {
    at: (read, [i], node) => {
      const seed = read(0, [])
      const sign = node.sources[0]!.dtype.startsWith("u") ? constant("u32", 0) : bitcast(shr(seed, int(31)), "u32")
      return select(eq(i!, int(0)), sign, seed.type === "u32" ? seed : bitcast(seed, "u32"))
    },
  },
  result: ([seed]) => {
    if (seed!.size !== 1 || seed!.rank !== 0) fail("shape", "key", `a seed must be a 0-d tensor, got ${showShape(seed!.shape)}`)
    if (!isInteger(seed!.dtype)) fail("dtype", "key", `a seed must be an integer, got ${seed!.dtype}`, "numbers reach compiled functions as f32; pass a bigint such as 7n, which arrives as i32")
    return { shape: [2], dtype: "u32" }
  },
}

/**
 * A key from a seed: the two halves of the seed as a 64-bit integer (two's complement), high half first. Inside a
 * compiled function a number or bigint of the body is fixed at capture, so every call would draw the same numbers:
 * pass the seed, or the key, as an argument.
 */
export function key(seed: number | bigint | Tensor): Key {
  if (seed instanceof Tensor) return apply(seedOp, [seed], undefined)
  if (typeof seed === "number" && !Number.isSafeInteger(seed)) fail("value", "key", `a seed must be a whole number, exact in 53 bits, got ${seed}`, "use a bigint for longer ones")
  if (typeof seed !== "number" && typeof seed !== "bigint") fail("value", "key", `a seed must be a number, a bigint or a 0-d integer tensor, got ${typeof seed}`)
  const bits = BigInt.asUintN(64, BigInt(seed))
  if (typeof seed === "bigint" && BigInt.asIntN(64, bits) !== seed && bits !== seed) fail("value", "key", `a seed must fit 64 bits, got ${seed}`)
  return literal([Number(bits >> 32n), Number(bits & 0xffffffffn)], "u32")
}

export function checkKey(op: string, k: Key): Key {
  if (!(k instanceof Tensor)) fail("value", op, `needs a key, got ${typeof k}`, `make one with random.key(${typeof k === "number" ? String(k) : "seed"})`)
  if (k.dtype !== "u32" || k.shape.length !== 1 || k.shape[0] !== 2) fail("shape", op, `a key is u32[2], got ${k.dtype}${showShape(k.shape)}`, "make one with random.key(seed)")
  return k
}

const wordsAt = (read: (source: number, coords: readonly Expr[]) => Expr, source: number): Words => [read(source, [int(0)]), read(source, [int(1)])]

const splitOp: Op<number> = {
  name: "split",
  meaning: {
    at: (read, [row, word]) => {
      const [a, b] = threefry(wordsAt(read, 0), [constant("u32", 0), cast(row!, "u32")])
      return select(eq(word!, int(0)), a, b)
    },
  },
  result: (_, n) => ({ shape: [n, 2], dtype: "u32" }),
}
/** `n` independent keys: key i is the block of counter i. Do not draw from a key that was split. */
export function split(key: Key, n = 2): Key[] {
  if (!Number.isInteger(n) || n < 1) fail("value", "split", `needs a whole number of keys ≥ 1, got ${n}`)
  const all = apply(splitOp, [checkKey("split", key)], n)
  return Array.from({ length: n }, (_, i) => selectAt(all, 0, i))
}

const foldInOp: Op<undefined> = {
  name: "foldIn",
  meaning: {
    at: (read, [word]) => {
      const [a, b] = threefry(wordsAt(read, 0), wordsAt(read, 1))
      return select(eq(word!, int(0)), a, b)
    },
  },
  result: () => ({ shape: [2], dtype: "u32" }),
}
/**
 * A key for the `n`-th use: a step, a layer, a sample. n is an integer as {@link key} takes it; a 0-d tensor makes it a
 * run-time value.
 */
export const foldIn = (k: Key, n: number | bigint | Tensor): Key => apply(foldInOp, [checkKey("foldIn", k), key(n)], undefined)

interface Draw { readonly shape: Shape; readonly dtype: DType }

/**
 * Makes an op that draws one value per element: `value` gets the block of the element's row-major position, counter
 * (0, position), under the key. So an element depends on the key and its position only, not on the shape.
 */
export function draw<A>(name: string, value: (words: Words, dtype: DType, attrs: A) => Expr): (key: Key, shape: Shape, dtype: DType, attrs: A) => Tensor {
  const op: Op<Draw & { attrs: A }> = {
    name,
    meaning: {
      at: (read, out, node, { attrs, dtype, shape }) =>
        value(threefry(wordsAt(read, 0), [constant("u32", 0), cast(flatIndex(out, shape), "u32")]), dtype, attrs),
    },
    result: (_, { shape, dtype }) => ({ shape, dtype }),
  }
  return (key, shape, dtype, attrs) => apply(op, [checkKey(name, key)], { shape: checkShape(name, shape), dtype, attrs })
}
