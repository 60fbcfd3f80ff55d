import fc from "fast-check"
import { describe, expect, test } from "vitest"
import {
  all, amax, amin, any, argmax, argmin, argsort, castTo, countNonzero, cummax, cummin, cumprod, cumsum, explain, gather, grad, logsumexp, max, maskedSelect, mean, median,
  min, mul, narrow, nonzero, norm, prod, quantile, sort, std, sum, tensor, topk, variance, zeros, type DType, type Tensor,
} from "../src/index.ts"

const f64 = (values: number[]): Tensor => tensor(values, { dtype: "f64" })
/** The gradient of Σ weight·f(x) by differences, in f64. */
async function byDifferences(f: (x: Tensor) => Tensor, x: number[]): Promise<number[]> {
  const total = async (at: number[]): Promise<number> => sum(mul(f(f64(at)), weights(f(f64(at))))).item()
  return Promise.all(x.map(async (v, i) => {
    const h = 1e-6 * Math.max(1, Math.abs(v))
    return ((await total(x.with(i, v + h))) - (await total(x.with(i, v - h)))) / (2 * h)
  }))
}
const weights = (y: Tensor): Tensor => f64(Array.from({ length: y.size }, (_, i) => 1 + 0.37 * i)).reshape(y.shape)
async function checkGradient(f: (x: Tensor) => Tensor, values: number[]): Promise<void> {
  const x = f64(values), y = f(x)
  const [dx] = grad(sum(mul(y, weights(y))), [x])
  const want = await byDifferences(f, values)
  ;(await dx!.data()).forEach((g, i) => expect(g).toBeCloseTo(want[i]!, 6))
}

describe("gradients agree with differences in f64", () => {
  const x = [0.7, -1.3, 2.1, 0.4, -0.2, 1.9]
  const table: Record<string, (x: Tensor) => Tensor> = {
    logsumexp: (t) => logsumexp(t), variance: (t) => variance(t), "variance of a population": (t) => variance(t, { correction: 0 }), std: (t) => std(t),
    "norm 1": (t) => norm(t, { p: 1 }), "norm 2": (t) => norm(t), "norm 3": (t) => norm(t, { p: 3 }), "norm 0.5": (t) => norm(t, { p: 0.5 }),
    "norm ∞": (t) => norm(t, { p: Infinity }), "norm -∞": (t) => norm(t, { p: -Infinity }),
    cumsum: (t) => cumsum(t, 0), cumprod: (t) => cumprod(t, 0), cummax: (t) => cummax(t, 0).values, cummin: (t) => cummin(t, 0).values,
    sort: (t) => sort(t).values, "sort, descending": (t) => sort(t, { descending: true }).values, topk: (t) => topk(t, 3).values,
    median: (t) => median(t), quantile: (t) => quantile(t, 0.3), max: (t) => max(t, 0).values, min: (t) => min(t, 0).values,
    prod: (t) => prod(t), mean: (t) => mean(t),
  }
  test.each(Object.entries(table))("%s", async (_name, f) => checkGradient(f, x))
  test("products through one zero, and through two", async () => {
    for (const f of [prod, (t: Tensor) => cumprod(t, 0)])
      for (const v of [[2, 0, 3, 4], [0, 2, 3], [1, 0, 2, 0, 3], [2, 0], [0, 0, 5]]) await checkGradient(f, v)
  })
  test("second derivatives of composites", async () => {
    for (const f of [logsumexp, variance, norm]) await checkGradient((t) => grad(f(t), [t])[0]!, x)
  })
})

describe("where nothing or everything is equal", () => {
  test("norm and std have gradient 0 at 0, not NaN", async () => {
    const x = zeros([3], "f32")
    for (const f of [norm, std, (t: Tensor) => norm(t, { p: 1 }), (t: Tensor) => norm(t, { p: 3 }), (t: Tensor) => norm(t, { p: 0.5 })])
      expect(await grad(f(x), [x])[0]!.tolist()).toEqual([0, 0, 0])
  })
  test("empty sums, products and tests have an identity; -∞ is that of logsumexp", async () => {
    const x = zeros([2, 0])
    const over = { axis: 1 }
    expect(await Promise.all([sum, prod, logsumexp, mean, variance].map((f) => f(x, over).tolist()))).toEqual([[0, 0], [1, 1], [-Infinity, -Infinity], [NaN, NaN], [NaN, NaN]])
    expect([await any(x, over).tolist(), await all(x, over).tolist(), await countNonzero(x, over).tolist()]).toEqual([[false, false], [true, true], [0, 0]])
    expect(await amax(zeros([0, 3]), over).tolist()).toEqual([])
  })
  test("one element has no unbiased variance", async () => {
    expect(await variance(tensor([5])).item()).toBeNaN()
    expect(await variance(tensor([5]), { correction: 0 }).item()).toBe(0)
  })
  test("logsumexp of infinities", async () => {
    const x = tensor([[-Infinity, -Infinity], [Infinity, 1], [1000, 1000], [NaN, 0]])
    expect(await logsumexp(x, { axis: 1 }).tolist()).toEqual([-Infinity, Infinity, Math.fround(1000 + Math.LN2), NaN])
  })
})

describe("half precision", () => {
  test("means, variances and norms do not overflow on the way", async () => {
    const x = tensor(Array.from({ length: 4096 }, (_, i) => (i % 2 ? 96 : 32)), { dtype: "f16" })
    expect([await mean(x).item(), await std(x, { correction: 0 }).item(), await norm(x).item()]).toEqual([64, 32, 4580])
    expect([mean(x), std(x), norm(x), logsumexp(x)].map((t) => t.dtype)).toEqual(["f16", "f16", "f16", "f16"])
  })
  test("scans and sorts read the values, not the bits", async () => {
    const x = tensor([0.5, -2, 1, -0.25], { dtype: "bf16" })
    expect(await cumsum(x, 0).tolist()).toEqual([0.5, -1.5, -0.5, -0.75])
    expect(await sort(x).values.tolist()).toEqual([-2, -0.25, 0.5, 1])
    expect(await cummax(x, 0).indices.tolist()).toEqual([0, 0, 2, 2])
    expect(await nonzero(tensor([0, -0, 1], { dtype: "f16" })).then((t) => t.tolist())).toEqual([[2]])
  })
})

describe("scans", () => {
  test("the last element is the whole reduction, along any axis", async () => {
    const x = tensor([[1, 2, 3], [4, 5, 6]], { dtype: "i32" })
    expect(await cumsum(x, 0).tolist()).toEqual([[1, 2, 3], [5, 7, 9]])
    expect(await cumsum(x, -1).tolist()).toEqual([[1, 3, 6], [4, 9, 15]])
    expect(await cumprod(x, 1).tolist()).toEqual([[1, 2, 6], [4, 20, 120]])
  })
  test("integers wrap as their sums do; small ones and bool add up in i32", async () => {
    const big = tensor(Int32Array.of(2147483647, 1))
    expect((await cumsum(big, 0).data())[1]).toBe(await sum(big).item())
    const unsigned = tensor(Uint32Array.of(4294967295, 2))
    expect([...(await cumsum(unsigned, 0).data()), ...(await cumprod(unsigned, 0).data())]).toEqual([4294967295, 1, 4294967295, 4294967294])
    expect(cumsum(tensor([true, true]), 0).dtype).toBe("i32")
    expect(await cumsum(tensor([200, 100], { dtype: "u8" }), 0).tolist()).toEqual([200, 300])
  })
  test("NaN stays the best; the last of equal ones is named", async () => {
    const { values, indices } = cummax(tensor([1, 3, 3, NaN, 9]), 0)
    expect([await values.tolist(), await indices.tolist()]).toEqual([[1, 3, 3, NaN, NaN], [0, 1, 2, 3, 3]])
    expect(await cummin(tensor([2, 1, 1, 3]), 0).indices.tolist()).toEqual([0, 1, 2, 2])
  })
})

describe("choosing", () => {
  const anything = fc.array(fc.oneof(fc.float({ noDefaultInfinity: false }), fc.constantFrom(0, -0, 1, NaN, Infinity, -Infinity)), { minLength: 1, maxLength: 40 })
  const dtypes: DType[] = ["f32", "f64", "f16", "i32", "u32", "i8", "u8", "bool"]

  test("sorting is a stable permutation with NaN last, for every dtype", async () => {
    await fc.assert(fc.asyncProperty(anything, fc.constantFrom(...dtypes), fc.boolean(), async (list, dtype, descending) => {
      const x = tensor(list.map((v) => v), { dtype })
      const plain = [...(await x.data())]
      const { values, indices } = sort(x, { descending })
      const order = [...(await indices.data())], got = [...(await values.data())]
      const above = (a: number, b: number): number => (Number.isNaN(a) ? (Number.isNaN(b) ? 0 : 1) : Number.isNaN(b) ? -1 : a < b ? -1 : a > b ? 1 : 0)
      const want = plain.map((_, i) => i).sort((i, j) => (descending ? above(plain[j]!, plain[i]!) : above(plain[i]!, plain[j]!)) || i - j)
      expect(order).toEqual(want)
      expect(got).toEqual(want.map((i) => plain[i]))
    }))
  })
  test("long lines sort as short ones", async () => {
    const n = 2 ** 21 + 5
    const x = Float32Array.from({ length: n }, (_, i) => (i * 7919) % 1000)
    const order = await argsort(tensor(x)).data()
    for (let i = 1; i < n; i += 997) {
      const a = order[i - 1]!, b = order[i]!
      expect(x[a]! < x[b]! || (x[a] === x[b] && a < b)).toBe(true)
    }
  })
  test("argmax and argmin name the first best, and NaN is better than all", async () => {
    await fc.assert(fc.asyncProperty(anything, fc.constantFrom(...dtypes), async (list, dtype) => {
      const x = tensor(list.map((v) => v), { dtype })
      const plain = [...(await x.data())]
      const first = (better: (a: number, b: number) => boolean): number => {
        const nan = plain.findIndex(Number.isNaN)
        return nan >= 0 ? nan : plain.reduce((best, v, i) => (better(v, plain[best]!) ? i : best), 0)
      }
      expect(await argmax(x).item()).toBe(first((a, b) => a > b))
      expect(await argmin(x, { axis: 0 }).item()).toBe(first((a, b) => a < b))
    }))
  })
  test("max and min agree with amax and amin, and keep the axis when told", async () => {
    const x = tensor([[3, 1, 2], [5, 9, 9]])
    const most = max(x, 1), least = min(x, 0, { keepDims: true })
    expect([await most.values.tolist(), await most.indices.tolist()]).toEqual([[3, 9], [0, 1]])
    expect([least.values.shape, least.indices.shape]).toEqual([[1, 3], [1, 3]])
    expect(await least.values.tolist()).toEqual(await amin(x, { axis: 0, keepDims: true }).tolist())
    expect(argmax(x, { keepDims: true }).shape).toEqual([1, 1])
  })
  test("argmax stays on the device: reductions, no host code", () => {
    expect(explain(argmax(tensor([[1, 2], [3, 4]]), { axis: 1 }))).not.toContain("routine")
  })
  test("the gradient of a maximum goes to the first of equal ones alone", async () => {
    const x = tensor([2, 7, 7])
    expect(await grad(max(x, 0).values, [x])[0]!.tolist()).toEqual([0, 1, 0])
    expect(await grad(amax(x), [x])[0]!.tolist()).toEqual([0, 0.5, 0.5])
  })
  test("topk is the head of the sorted elements", async () => {
    const x = tensor([[4, 1, 3, NaN], [0, 0, -1, 5]])
    expect(await topk(x, 2).values.tolist()).toEqual([[NaN, 4], [5, 0]])
    expect(await topk(x, 2, { largest: false }).indices.tolist()).toEqual([[1, 2], [2, 0]])
    expect(await topk(x, 1, { axis: 0 }).values.tolist()).toEqual([[4, 1, 3, NaN]])
  })
  test("… of long lines with many equal ones, too, along either axis", async () => {
    const line = fc.array(fc.oneof(fc.integer({ min: -3, max: 3 }), fc.constantFrom(NaN, Infinity, -Infinity, -0, 1e30)), { minLength: 30, maxLength: 60 })
    await fc.assert(fc.asyncProperty(line, fc.integer({ min: 0, max: 12 }), fc.boolean(), fc.constantFrom("f32", "f64", "bf16"), async (values, k, largest, dtype) => {
      const x = castTo(tensor([values, values.toReversed()]), dtype as DType)
      for (const [along, axis] of [[x, 1], [x.transpose(), 0]] as const) {
        const { values: best, indices } = topk(along, k, { axis, largest }), sorted = sort(along, { axis, descending: largest })
        const head = (t: Tensor): Tensor => narrow(t, axis, 0, k)
        expect(await indices.tolist()).toEqual(await head(sorted.indices).tolist())
        expect(await best.tolist()).toEqual(await head(sorted.values).tolist())
      }
    }))
  })
  test("median and quantiles", async () => {
    const x = tensor([5, 1, 4, 2])
    expect([await median(x).item(), await quantile(x, 0.5).item(), await quantile(x, 0).item(), await quantile(x, 1).item()]).toEqual([2, 3, 1, 5])
    expect(await median(tensor([1, NaN, 3])).item()).toBeNaN()
    expect(await quantile(tensor([[1, 3], [5, 7]]), 0.5, { axis: 0, keepDims: true }).tolist()).toEqual([[3, 5]])
    for (let n = 1; n < 60; n++) expect(await median(tensor(Array.from({ length: n }, (_, i) => n - i))).item()).toBe(Math.floor((n + 1) / 2))
  })
})

describe("masks", () => {
  test("nonzero gives the coordinates that gather would read", async () => {
    const x = tensor([[0, 2, 0], [3, 0, NaN]])
    expect(await (await nonzero(x)).tolist()).toEqual([[0, 1], [1, 0], [1, 2]])
    expect((await nonzero(zeros([2, 2]))).shape).toEqual([0, 2])
  })
  test("maskedSelect broadcasts, and its gradient goes back to what was selected", async () => {
    const x = tensor([[1, 2], [3, 4]])
    const picked = await maskedSelect(x, tensor([true, false]))
    expect(await picked.tolist()).toEqual([1, 3])
    expect(await grad(sum(mul(picked, picked)), [x])[0]!.tolist()).toEqual([[2, 0], [6, 0]])
    expect((await maskedSelect(x, castTo(zeros([2, 2]), "bool"))).shape).toEqual([0])
  })
  test("all, any and countNonzero take anything that is not 0 for true", async () => {
    const x = tensor([[1, 0], [NaN, -3]])
    expect([await all(x, { axis: 1 }).tolist(), await any(x, { axis: 1 }).tolist(), await countNonzero(x).item()]).toEqual([[false, true], [true, true], 3])
  })
})

test("indices of one op read another tensor", async () => {
  const x = tensor([[3, 1, 2]]), y = tensor([[30, 10, 20]])
  expect(await gather(y, 1, argsort(x)).tolist()).toEqual([[10, 20, 30]])
})
