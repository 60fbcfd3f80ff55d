import { describe, expect, test } from "vitest"
import { apply, compile, expand, grad, random, sum, tensor, type Expr, type Op, type Tensor } from "../src/index.ts"
import { fromWord, interval, upperTail } from "../src/random/normal.ts"

const { key, bernoulli, bits, categorical, dropout, gumbel, normal, permutation, randint, truncatedNormal, uniform } = random
const values = async (t: Tensor): Promise<number[]> => [...(await t.data())]

/** Kolmogorov–Smirnov: the largest gap between the sample and a distribution, in units of 1/√n; above 2.7 once in 10⁶ draws. */
function gap(sample: readonly number[], cdf: (x: number) => number): number {
  const sorted = [...sample].sort((a, b) => a - b), n = sorted.length
  let most = 0
  sorted.forEach((x, i) => (most = Math.max(most, Math.abs(cdf(x) - i / n), Math.abs(cdf(x) - (i + 1) / n))))
  return most * Math.sqrt(n)
}
function moments(sample: readonly number[]): { mean: number; variance: number; skewness: number; kurtosis: number } {
  const n = sample.length, mean = sample.reduce((s, x) => s + x, 0) / n
  const central = (p: number): number => sample.reduce((s, x) => s + (x - mean) ** p, 0) / n
  const variance = central(2)
  return { mean, variance, skewness: central(3) / variance ** 1.5, kurtosis: central(4) / variance ** 2 }
}
const cdf = (x: number): number => upperTail(-x)
const N = 10000

describe("uniform", () => {
  test("fills [0, 1) evenly, in steps of 2⁻²⁴", async () => {
    const u = await values(uniform(key(1), [N]))
    expect(gap(u, (x) => x)).toBeLessThan(2)
    expect(u.every((x) => x >= 0 && x < 1 && Number.isInteger(x * 2 ** 24))).toBe(true)
    const { mean, variance } = moments(u)
    expect(Math.abs(mean - 0.5)).toBeLessThan(4 / Math.sqrt(12 * N))
    expect(Math.abs(variance - 1 / 12)).toBeLessThan(4 * Math.sqrt(1 / 180 / N))
  })
  test("neighbours, and the same position under neighbouring keys, do not correlate", async () => {
    const [u, v] = await Promise.all([values(uniform(key(1), [N])), values(uniform(key(2), [N]))])
    const correlation = (a: readonly number[], b: readonly number[]): number => (12 * a.reduce((s, x, i) => s + (x - 0.5) * (b[i]! - 0.5), 0)) / a.length
    expect(Math.abs(correlation(u.slice(1), u))).toBeLessThan(4 / Math.sqrt(N))
    expect(Math.abs(correlation(u, v))).toBeLessThan(4 / Math.sqrt(N))
  })
  test("every bit is set half of the time", async () => {
    const w = await values(bits(key(9), [N]))
    for (let b = 0; b < 32; b++) expect(Math.abs(w.filter((x) => (x >>> b) & 1).length / N - 0.5)).toBeLessThan(2 / Math.sqrt(N) * 1.2)
  })
  test.each(["f64", "f32", "f16", "bf16"] as const)("keeps low ≤ x < high in %s", async (dtype) => {
    for (const [low, high] of [[0, 1], [-3, -2], [1, 2], [-0.1, 0.3], [0, 2 ** -20], [65000, 65500], [-1, 0]] as const) {
      const u = await values(uniform(key(4), [1024], { low, high, dtype }))
      expect(u.every((x) => x >= low && x < high), `${low} ${high}`).toBe(true)
      if (high - low >= 0.1 && high < 10) expect(gap(u, (x) => (x - low) / (high - low))).toBeLessThan(dtype === "bf16" ? 3 : 2)
    }
  })
})

describe("normal", () => {
  /** The number of given words, without the generator. */
  const wordOp: Op<{ low: number; high: number }> = {
    name: "fromWord",
    meaning: { scalar: ([k], _node, { low, high }) => fromWord(k as Expr, interval(low, high)) },
    result: ([k]) => ({ shape: k!.shape, dtype: "f32" }),
  }
  /** Quantile by bisection on the tail probability, in f64. */
  const quantile = (below: number, above: number): number => {
    if (below > above) return -quantile(above, below)
    let low = 0, high = 40
    for (let i = 0; i < 90; i++) {
      const mid = (low + high) / 2
      if (upperTail(mid) > below) low = mid
      else high = mid
    }
    return -low
  }
  const words = Uint32Array.from([0, 1, 2, 100, 2 ** 10, 2 ** 20, 2 ** 28, 322122547, 322122548, 2 ** 31 - 2 ** 20, 2 ** 31 - 1, 2 ** 31, 2 ** 31 + 2 ** 20, 3972844748, 2 ** 32 - 2 ** 15, 2 ** 32 - 2, 2 ** 32 - 1])

  test.each([[-Infinity, Infinity], [-2, 2], [-1, 4], [3, Infinity], [6, 8], [-9, -7.5]])("is within 5e-7 of the exact quantile on [%d, %d]", async (low, high) => {
    const more = Uint32Array.from([...words, ...(await values(bits(key(3), [3000])))])
    const z = await values(apply(wordOp, [tensor(more)], { low, high }))
    const { below, mass, above } = interval(low, high)
    let worst = 0
    z.forEach((got, i) => {
      const want = quantile(below + (mass * (more[i]! + 0.5)) / 2 ** 32, above + (mass * (2 ** 32 - 0.5 - more[i]!)) / 2 ** 32)
      worst = Math.max(worst, Math.abs(got - want) / Math.max(1, Math.abs(want)))
      if (!(got >= low && got <= high)) worst = Infinity
    })
    expect(worst).toBeLessThan(5e-7)
  })
  test("is symmetric: complementary bits give the negative number", async () => {
    const of = (w: Uint32Array): Promise<number[]> => values(apply(wordOp, [tensor(w)], { low: -Infinity, high: Infinity }))
    const z = await of(words)
    expect((await of(words.map((w) => ~w))).every((x, i) => x === -z[i]!)).toBe(true)
  })
  test("has the distribution and the moments", async () => {
    const z = await values(normal(key(5), [N]))
    expect(gap(z, cdf)).toBeLessThan(2)
    const { mean, variance, skewness, kurtosis } = moments(z)
    expect(Math.abs(mean)).toBeLessThan(4 / Math.sqrt(N))
    expect(Math.abs(variance - 1)).toBeLessThan(4 * Math.sqrt(2 / N))
    expect(Math.abs(skewness)).toBeLessThan(4 * Math.sqrt(6 / N))
    expect(Math.abs(kurtosis - 3)).toBeLessThan(4 * Math.sqrt(24 / N))
  })
  test("mean and std shift and scale, also as run-time values", async () => {
    const z = await values(normal(key(5), [8]))
    expect(await values(normal(key(5), [8], { mean: 3, std: 0.5 }))).toEqual(z.map((x) => Math.fround(Math.fround(x * 0.5) + 3)))
    const drawn = compile((k: Tensor, std: Tensor) => normal(k, [8], { std }))
    expect(await values(await drawn(key(5), tensor(0.5)))).toEqual(z.map((x) => Math.fround(x * 0.5)))
  })
  test("truncated, it keeps its bounds and the conditional distribution", async () => {
    for (const [low, high] of [[-2, 2], [-0.5, 3], [4, 5]] as const) {
      const z = await values(truncatedNormal(key(6), [N / 4], { low, high }))
      const { mass } = interval(low, high)
      expect(gap(z, (x) => (low > 0 ? upperTail(low) - upperTail(x) : cdf(x) - cdf(low)) / mass)).toBeLessThan(2)
    }
    const shifted = await values(truncatedNormal(key(6), [N / 4], { mean: 10, std: 0.1 }))
    expect(Math.min(...shifted)).toBeGreaterThan(9.8 - 1e-5)
    expect(Math.max(...shifted)).toBeLessThan(10.2 + 1e-5)
  })
})

describe("integers and choices", () => {
  test("randint is even over its values", async () => {
    const n = await values(randint(key(7), [N], { low: -3, high: 4 }))
    const counts = Array.from({ length: 7 }, (_, i) => n.filter((x) => x === i - 3).length)
    expect(counts.reduce((a, b) => a + b)).toBe(N)
    // χ² with 6 degrees of freedom is above 38 once in 10⁶ draws.
    expect(counts.reduce((s, c) => s + (c - N / 7) ** 2 / (N / 7), 0)).toBeLessThan(20)
  })
  test("randint is ⌊w·span/2⁶⁴⌋ of 64 random bits, for spans up to 2³²", async () => {
    const blocks = random.split(key(8), 50)
    const k = key(8)
    for (const [low, high, dtype] of [[0, 3, "i32"], [0, 2 ** 32 - 1, "u32"], [-(2 ** 31), 2 ** 31, "i32"], [5, 100000, "u32"], [-128, 128, "i8"], [0, 65536, "u16"]] as const) {
      const got = await values(randint(k, [50], { low, high, dtype }))
      for (let i = 0; i < 50; i++) {
        const [a, b] = await values(blocks[i]!)
        const w = (BigInt(a!) << 32n) | BigInt(b!)
        expect(got[i]).toBe(low + Number((w * BigInt(high - low)) >> 64n))
      }
    }
  })
  test("bernoulli is true with its probability, also one per element", async () => {
    const p = 0.3
    const hits = (await values(bernoulli(key(10), [N], p))).reduce((a, b) => a + b)
    expect(Math.abs(hits / N - p)).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / N))
    expect(await values(bernoulli(key(10), [2, 3], tensor([0, 1, 0])))).toEqual([0, 1, 0, 0, 1, 0])
  })
  test("gumbel numbers have their distribution", async () => {
    const g = await values(gumbel(key(11), [N]))
    expect(gap(g, (x) => Math.exp(-Math.exp(-x)))).toBeLessThan(2)
    expect(g.every(Number.isFinite)).toBe(true)
  })
  test("categorical follows softmax and never draws −∞", async () => {
    const p = [0.1, 0.6, 0, 0.3]
    const rows = categorical(key(12), expand(tensor(p.map(Math.log)), [4000, 4]))
    const drawn = await values(rows)
    expect(rows.dtype).toBe("i32")
    p.forEach((want, i) => expect(Math.abs(drawn.filter((x) => x === i).length / 4000 - want)).toBeLessThan(4 * Math.sqrt((want * (1 - want)) / 4000) + 1e-12))
    const columns = await categorical(key(12), tensor([[0, -Infinity], [-Infinity, 5]]), { axis: 0 }).data()
    expect([...columns]).toEqual([0, 1])
  })
  test("permutation holds every number once, and every place sees every number", async () => {
    const first = new Array<number>(5).fill(0)
    for (let i = 0; i < 250; i++) {
      const k = random.foldIn(key(13), i)
      const order = await values(permutation(k, 5))
      expect([...order].sort()).toEqual([0, 1, 2, 3, 4])
      first[order.indexOf(0)]!++
    }
    // χ² with 4 degrees of freedom.
    expect(first.reduce((s, c) => s + (c - 50) ** 2 / 50, 0)).toBeLessThan(18)
    expect(await values(permutation(key(0), 0))).toEqual([])
  })
})

describe("dropout", () => {
  const x = tensor(Float32Array.from({ length: 1000 }, (_, i) => i + 1))
  test("zeroes a share of the elements and scales the others", async () => {
    const y = await values(dropout(x, 0.25, key(14)))
    const kept = y.filter((v) => v !== 0).length
    expect(Math.abs(kept / 1000 - 0.75)).toBeLessThan(4 * Math.sqrt(0.1875 / 1000))
    y.forEach((v, i) => expect(v === 0 || Math.abs(v - (i + 1) / 0.75) < 1e-3).toBe(true))
  })
  test("is the identity at 0, nothing at 1, and the rate may be a run-time value", async () => {
    expect(dropout(x, 0, key(14))).toBe(x)
    expect(new Set(await values(dropout(x, 1, key(14))))).toEqual(new Set([0]))
    const drop = compile((k: Tensor, rate: Tensor) => {
      const y = dropout(x, rate, k)
      return { y, g: grad(sum(y), [x])[0]! }
    })
    for (const rate of [0, 0.5, 1]) {
      const { y, g } = await drop(key(14), tensor(rate))
      expect(await values(y)).toEqual(await values(dropout(x, rate, key(14))))
      expect(await values(g)).toEqual((await values(y)).map((v, i) => Math.fround(v / (i + 1))))
    }
    expect(drop.programs).toBe(1)
  })
  test("keeps the dtype", () => expect(dropout(tensor([1, 2], { dtype: "bf16" }), tensor(0.5), key(1)).dtype).toBe("bf16"))
})
