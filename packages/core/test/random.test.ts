import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { apply, compile, expr, explain, random, rand, randn, tensor, ThimbleError, type Op, type Tensor } from "../src/index.ts"
import { threefry } from "../src/random/threefry.ts"

const { key, split, foldIn, bits, uniform, normal, randint } = random
const words = async (t: Tensor): Promise<number[]> => [...(await t.data())]
const hex = (list: number[]): string => list.map((v) => v.toString(16).padStart(8, "0")).join(" ")

/** One block: [key, counter] u32[2] each → u32[2]. */
const blockOp: Op<undefined> = {
  name: "block",
  meaning: {
    at: (read, [i]) => {
      const of = (s: number): [expr.Expr, expr.Expr] => [read(s, [expr.int(0)]), read(s, [expr.int(1)])]
      const [a, b] = threefry(of(0), of(1))
      return expr.select(expr.eq(i!, expr.int(0)), a, b)
    },
  },
  result: () => ({ shape: [2], dtype: "u32" }),
}
const pair = (a: number, b: number): Tensor => tensor(Uint32Array.of(a, b))

describe("known answers", () => {
  // Random123's kat_vectors, threefry2x32 with 20 rounds: counter, key, block.
  test.each([
    [[0, 0], [0, 0], "6b200159 99ba4efe"],
    [[0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff], "1cb996fc bb002be7"],
    [[0x243f6a88, 0x85a308d3], [0x13198a2e, 0x03707344], "c4923a9c 483df7a0"],
  ])("threefry of counter %j under key %j", async (counter, k, block) => {
    expect(hex(await words(apply(blockOp, [pair(k[0]!, k[1]!), pair(counter[0]!, counter[1]!)], undefined)))).toBe(block)
  })
  // Recorded from jax 0.10.2 with its default partitionable threefry (the last seed with 64-bit types switched on).
  test("bits are those of jax.random.bits", async () => {
    expect(await words(bits(key(0), [6]))).toEqual([4070199207, 4202968722, 1427181096, 2012915765, 2447653815, 710830403])
    expect(await words(bits(key(2026), [2, 3]))).toEqual([3871830408, 3478574990, 3331668629, 2514340355, 1068338350, 3895819311])
    expect(await words(bits(key(123456789012345), [4]))).toEqual([1469606746, 626039490, 1914500253, 4093306485])
  })
  test("keys are those of jax.random.split and fold_in", async () => {
    expect(await Promise.all(split(key(0), 3).map(words))).toEqual([[1797259609, 2579123966], [928981903, 3453687069], [4146024105, 2718843009]])
    expect(await words(split(key(42))[1]!)).toEqual([64467757, 2916123636])
    expect(await words(foldIn(key(42), 7))).toEqual([2547012911, 1371500959])
    expect(await words(foldIn(key(42), 0xffffffff))).toEqual([2398536845, 3890976714])
    expect(await words(key(-5))).toEqual([4294967295, 4294967291])
  })
})

describe("laws", () => {
  const seeds = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n })
  test("an element depends on its position, not on the shape", async () => {
    await fc.assert(fc.asyncProperty(seeds, fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 6 }), async (seed, m, n) => {
      const long = await words(bits(key(seed), [40]))
      expect(await words(bits(key(seed), [m, n]))).toEqual(long.slice(0, m * n))
      expect(await words(bits(key(seed), [1, n, m, 1]))).toEqual(long.slice(0, m * n))
    }), { numRuns: 15 })
  })
  test("split keys differ from one another, from their parent and from folded ones, and draw different bits", async () => {
    await fc.assert(fc.asyncProperty(seeds, fc.integer({ min: 1, max: 9 }), async (seed, n) => {
      const parent = key(seed)
      const keys = [parent, ...split(parent, n), foldIn(parent, n + 1)]
      expect(new Set(await Promise.all(keys.map(async (k) => hex(await words(k))))).size).toBe(n + 2)
      expect(new Set(await Promise.all(keys.map(async (k) => hex(await words(bits(k, [2])))))).size).toBe(n + 2)
    }), { numRuns: 15 })
  })
  test("key i does not depend on how many are split off, nor anything on the order of drawing", async () => {
    const [a, b] = split(key(3), 2)
    const late = await words(bits(split(key(3), 5)[1]!, [3]))
    await words(bits(a!, [3]))
    expect(await words(bits(b!, [3]))).toEqual(late)
  })
  test("different seeds, also beyond 32 bits, give different bits", async () => {
    const many = [0, 1, -1, 2 ** 32, 2 ** 32 + 1, 2 ** 52, 2n ** 63n, -(2n ** 63n) + 1n]
    expect(new Set(await Promise.all(many.map(async (s) => hex(await words(bits(key(s), [2])))))).size).toBe(many.length)
  })
  test("a run-time seed is the same key as that number, and equal integers of any width are one seed", async () => {
    for (const s of [0, 7, -7, 2147483647, -2147483648]) expect(await words(key(tensor(s, { dtype: "i32" })))).toEqual(await words(key(s)))
    expect(await words(key(tensor(4294967295, { dtype: "u32" })))).toEqual(await words(key(4294967295)))
    expect(await words(key(tensor(-3, { dtype: "i8" })))).toEqual(await words(key(-3)))
    expect(await words(foldIn(key(1), tensor(9, { dtype: "i32" })))).toEqual(await words(foldIn(key(1), 9)))
  })
})

describe("inside a compiled function", () => {
  test("key and step are run-time values: one program, the uncompiled numbers", async () => {
    const draw = compile<[Tensor, bigint], Tensor>((k, step) => normal(foldIn(k, step), [5]))
    for (const [seed, step] of [[1, 2n], [1, 3n], [9, 2n]] as const) {
      const k = key(seed)
      expect(await words(await draw(k, step))).toEqual(await words(normal(foldIn(key(seed), step), [5])))
    }
    expect(draw.programs).toBe(1)
  })
  test("a seed that arrives as f32 is refused with the remedy", async () => {
    const draw = compile<[number], Tensor>((seed) => bits(key(seed), [2]))
    await expect(draw(3)).rejects.toThrow("key: a seed must be an integer, got f32; numbers reach compiled functions as f32; pass a bigint such as 7n, which arrives as i32")
  })
  test("seeds are operands: another seed prints the same kernels", () => {
    expect(explain(normal(key(1), [4, 4]))).toBe(explain(normal(key(2n ** 40n), [4, 4])))
  })
  test("drawing fuses with what reads it, and a key is computed once", () => {
    const k = foldIn(key(1), 3)
    const lines = explain(uniform(k, [100, 100]), randint(k, [100, 100], { high: 9 })).split("\n")
    // The folded key, two draws, the memory plan.
    expect(lines).toHaveLength(4)
  })
})

test("convenience functions draw under key(seed)", async () => {
  expect(await words(randn([3], { seed: 5 }))).toEqual(await words(normal(key(5), [3])))
  expect(await words(rand([3], { seed: 5n }))).toEqual(await words(uniform(key(5), [3])))
  expect(randn([2], { seed: 0, dtype: "f16" }).dtype).toBe("f16")
})

test("misuse is refused at the call", () => {
  const k = key(0)
  const refused = (fn: () => unknown, message: string): void => {
    expect(fn).toThrow(ThimbleError)
    expect(fn).toThrow(message)
  }
  refused(() => key(0.5), "key: a seed must be a whole number, exact in 53 bits, got 0.5")
  refused(() => key(2 ** 60), "use a bigint for longer ones")
  refused(() => key(2n ** 64n), "key: a seed must fit 64 bits")
  refused(() => key("1" as unknown as number), "got string")
  refused(() => key(tensor([1, 2], { dtype: "i32" })), "key: a seed must be a 0-d tensor, got [2]")
  refused(() => bits(7 as unknown as Tensor, [2]), "bits: needs a key, got number; make one with random.key(7)")
  refused(() => bits(tensor([1, 2]), [2]), "bits: a key is u32[2], got f32[2]")
  refused(() => bits(k, [-1]), "bits: sizes must be whole numbers")
  refused(() => split(k, 0), "split: needs a whole number of keys ≥ 1, got 0")
  refused(() => uniform(k, [1], { low: 1, high: 1 }), "uniform: needs finite low < high, got 1 and 1")
  refused(() => uniform(k, [1], { low: 1.0001, high: 1.0002, dtype: "f16" }), "uniform: no f16 lies between 1.0001 and 1.0002")
  refused(() => uniform(k, [1], { dtype: "i32" }), "uniform: draws floats, got i32; randint draws integers")
  refused(() => normal(k, [1], { std: -1 }), "normal: the standard deviation must be finite and ≥ 0, got -1")
  refused(() => normal(k, [1], { mean: NaN }), "normal: the mean must be finite, got NaN")
  refused(() => random.truncatedNormal(k, [1], { low: 3, high: 2 }), "truncatedNormal: needs low < high, got 3 and 2")
  refused(() => random.truncatedNormal(k, [1], { low: 20, high: 21 }), "too little for f32")
  refused(() => randint(k, [1], { high: 300, dtype: "u8" }), "randint: 0 … 299 does not fit u8 (0 … 255)")
  refused(() => randint(k, [1], { low: 3, high: 3 }), "randint: needs whole numbers low < high, got 3 and 3")
  refused(() => random.bernoulli(k, [1], 1.5), "bernoulli: the probability must be in 0 … 1, got 1.5")
  refused(() => random.bernoulli(k, [2], tensor([0.1, 0.2, 0.3])), "shapes do not broadcast")
  refused(() => random.dropout(tensor([1]), NaN, k), "dropout: the rate must be in 0 … 1, got NaN")
  refused(() => random.permutation(k, -1), "permutation: needs a whole number ≥ 0, got -1")
  refused(() => random.categorical(k, tensor([1], { dtype: "i32" })), "categorical: needs float logits, got i32")
})
