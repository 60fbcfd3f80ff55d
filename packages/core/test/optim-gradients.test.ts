import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { accumulate, add, clipGradNorm, clipGradValue, compile, globalNorm, mul, randn, tensor, tensorsOf, ThimbleError, type Tensor } from "../src/index.ts"

const values = async (t: Tensor): Promise<number[]> => [...(await t.data())]
const numbers = fc.array(fc.float({ min: -100, max: 100, noNaN: true }), { minLength: 1, maxLength: 5 })
const trees = fc.array(numbers, { minLength: 1, maxLength: 9 })
const norm = (tree: readonly (readonly number[])[]): number => Math.hypot(...tree.flat())

describe("clipGradNorm", () => {
  test("bounds the norm of the whole tree and keeps its direction", async () => {
    await fc.assert(fc.asyncProperty(trees, fc.double({ min: 0.01, max: 300, noNaN: true }), async (tree, most) => {
      const { grads, norm: before } = clipGradNorm(tree.map((t) => tensor(t)), most)
      const after = await Promise.all(grads.map(values))
      const length = norm(tree)
      expect(await before.item()).toBeCloseTo(length, 3)
      expect(norm(after)).toBeLessThanOrEqual(Math.min(most, length) * (1 + 1e-5) + 1e-30)
      const share = Math.min(1, most / (length + 1e-6))
      after.forEach((t, i) => t.forEach((v, k) => expect(v).toBeCloseTo(tree[i]![k]! * share, 3)))
    }), { numRuns: 40 })
  })
  test("leaves gradients below the bound exactly as they are, also those that are all zero", async () => {
    const { grads } = clipGradNorm({ a: tensor([0.1, 0.2]), b: tensor([0, 0]) }, 1)
    expect(await values(grads.a)).toEqual(await values(tensor([0.1, 0.2])))
    expect(await values(clipGradNorm(tensor([0, 0]), 1).grads)).toEqual([0, 0])
    expect(await values(clipGradNorm(tensor([3, 4]), Infinity).grads)).toEqual([3, 4])
  })
  test("counts a tied gradient once, passes integers through and keeps dtypes", async () => {
    const tied = tensor([3, 4]), ids = tensor([7], { dtype: "i32" })
    const { grads, norm: before } = clipGradNorm({ a: tied, b: [tied], ids, half: tensor([0, 0], { dtype: "bf16" }) }, 1)
    expect(await before.item()).toBe(5)
    expect(grads.b[0]).toBe(grads.a)
    expect(grads.ids).toBe(ids)
    expect(grads.half.dtype).toBe("bf16")
  })
  test("is right for many tensors, and f16 squares do not overflow", async () => {
    const many = Array.from({ length: 100 }, (_, i) => randn([3], { seed: i }))
    expect(await globalNorm(many).item()).toBeCloseTo(norm(await Promise.all(many.map(values))), 4)
    expect(await globalNorm(tensor([3000, 4000], { dtype: "f16" })).item()).toBe(5000)
    expect(await globalNorm({}).item()).toBe(0)
  })
  test("the bound may be a run-time value", async () => {
    const clip = compile<[Tensor, number], Tensor>((g, most) => clipGradNorm(g, most).grads)
    for (const most of [1, 2]) (await values(await clip(tensor([3, 4]), most))).forEach((v, i) => expect(v).toBeCloseTo((most * [3, 4][i]!) / 5, 5))
    expect(clip.programs).toBe(1)
  })
})

test("clipGradValue holds every element", async () => {
  expect(await values(clipGradValue({ a: tensor([-3, 0.5, 3, NaN]) }, 1).a)).toEqual([-1, 0.5, 1, NaN])
})

describe("accumulate", () => {
  test("is the weighted mean, and feeding it back one at a time gives the same", async () => {
    const weighted = fc.array(fc.tuple(fc.array(fc.float({ min: -10, max: 10, noNaN: true }), { minLength: 3, maxLength: 3 }), fc.integer({ min: 1, max: 50 })), { minLength: 1, maxLength: 6 })
    await fc.assert(fc.asyncProperty(weighted, async (parts) => {
      const total = parts.reduce((s, [, w]) => s + w, 0)
      const want = [0, 1, 2].map((k) => parts.reduce((s, [g, w]) => s + g[k]! * w, 0) / total)
      const all = accumulate(parts.map(([g]) => ({ g: tensor(g) })), parts.map(([, w]) => w))
      let running = { g: tensor(parts[0]![0]) }, seen = parts[0]![1]
      for (const [g, w] of parts.slice(1)) {
        running = accumulate([running, { g: tensor(g) }], [seen, w])
        seen += w
      }
      for (const got of [await values(all.g), await values(running.g)]) got.forEach((v, k) => expect(v).toBeCloseTo(want[k]!, 4))
    }), { numRuns: 40 })
  })
  test("weights are 1 unless given, and one tree is its own mean", async () => {
    expect(await values(accumulate([[tensor([1, 2])], [tensor([3, 6])]])[0]!)).toEqual([2, 4])
    const alone = { g: tensor([1]) }
    expect(accumulate([alone]).g).toBe(alone.g)
  })
  test("compiled, with counts of tokens as run-time values, needs one program and donates the old mean", async () => {
    const step = compile<[{ g: Tensor }, { g: Tensor }, number, number], { g: Tensor }>((mean, g, seen, count) => accumulate([mean, g], [seen, count]), { donate: [0, 1] })
    let mean = { g: tensor([0, 0]) }, seen = 0
    for (const count of [3, 5, 2]) {
      mean = await step(mean, { g: tensor([count, 1]) }, seen, count)
      seen += count
    }
    expect((await values(mean.g)).map((v) => Math.round(v * 1e5) / 1e5)).toEqual([3.8, 1])
    expect(step.programs).toBe(1)
  })
  test("keeps ties and integers, and sums half precision in f32", async () => {
    const micro = (v: number) => {
      const tied = tensor([v], { dtype: "f16" })
      return { a: tied, b: tied, n: tensor([1], { dtype: "i32" }) }
    }
    const first = micro(60000), out = accumulate([first, micro(60000), micro(60000)])
    expect(out.a).toBe(out.b)
    expect(out.n).toBe(first.n)
    expect(await values(out.a)).toEqual(await values(first.a))
  })
})

test("misuse is refused", () => {
  const refused = (fn: () => unknown, message: string): void => {
    expect(fn).toThrow(ThimbleError)
    expect(fn).toThrow(message)
  }
  const g = { w: tensor([1, 2]) }
  for (const bound of [0, -1, NaN]) {
    refused(() => clipGradNorm(g, bound), `clipGradNorm: maxNorm must be > 0, got ${bound}; Infinity clips nothing`)
    refused(() => clipGradValue(g, bound), `clipGradValue: maxValue must be > 0, got ${bound}`)
  }
  refused(() => clipGradNorm(g, tensor([1])), "got f32[1]")
  refused(() => accumulate([]), "accumulate: needs at least one tree")
  refused(() => accumulate([g, { w: tensor([1]) }]), "accumulate: tree 1 differs from tree 0 in w [2]")
  refused(() => accumulate([g, { ...g, v: tensor([1]) }]), "accumulate: tree 1 differs from tree 0 in its names")
  refused(() => accumulate([g, g], [1]), "accumulate: 1 weights for 2 trees")
  refused(() => accumulate([g, g], [1, -1]), "accumulate: weights must be finite and ≥ 0, got -1")
  refused(() => accumulate([g, g], [0, 0]), "accumulate: the weights sum to 0")
})

test("helpers leave their arguments alone", async () => {
  const g = tensor([3, 4])
  const { grads } = clipGradNorm({ g }, 1)
  await Promise.all(tensorsOf(accumulate([grads, { g: add(mul(g, 2), 1) }])).map(values))
  expect(await values(g)).toEqual([3, 4])
})
