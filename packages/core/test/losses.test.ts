import { describe, expect, test } from "vitest"
import { add, bceWithLogits, binaryCrossEntropy, cosineSimilarity, crossEntropy, distillationLoss, explain, grad, huberLoss, klDivLoss, logSoftmax, mul, nllLoss, oneHot, reshape, sigmoid, softmax, sum, tensor, transpose, zeros, type Tensor } from "../src/index.ts"

const x = tensor([[1, -2, 0.5], [3, 1, 0], [-1, 0, 2]])
const ints = (values: number[] | number[][]): Tensor => tensor(values, { dtype: "i32" })
const close = async (got: Tensor, want: Tensor, digits = 5): Promise<void> => {
  expect(got.shape).toEqual(want.shape)
  const [g, w] = [await got.data(), await want.data()]
  g.forEach((v, i) => expect(v).toBeCloseTo(w[i]!, digits))
}

describe("crossEntropy", () => {
  const y = ints([2, 0, 1])
  test("is nllLoss of logSoftmax, and of one-hot probabilities the same, gradients too", async () => {
    const options = { weight: tensor([0.5, 2, 1]), labelSmoothing: 0.2 } as const
    for (const [a, b] of [
      [crossEntropy(x, y), nllLoss(logSoftmax(x), y)],
      [crossEntropy(x, y, { reduction: "none" }), crossEntropy(x, oneHot(y, 3, "f32"), { reduction: "none" })],
      [crossEntropy(x, y, { ...options, reduction: "sum" }), crossEntropy(x, oneHot(y, 3, "f32"), { ...options, reduction: "sum" })],
    ] as const) {
      await close(a, b)
      await close(grad(sum(a), [x])[0]!, grad(sum(b), [x])[0]!)
    }
  })
  test("takes the class axis by name, also of f16", async () => {
    const image = reshape(transpose(reshape(x, [1, 3, 3])), [1, 3, 3, 1]), target = reshape(y, [1, 3, 1])
    await close(crossEntropy(image, target, { axis: 1 }), crossEntropy(x, y))
    expect(crossEntropy(image.castTo("f16"), target, { axis: 1 }).dtype).toBe("f16")
  })
  test("rows that are ignored give neither loss nor gradient, even where they hold NaN", async () => {
    const broken = tensor([[1, -2, 0.5], [NaN, 1, 0], [-1, 0, 2]])
    const loss = crossEntropy(broken, ints([2, -100, 1]))
    const [dx] = grad(loss, [broken])
    expect(await loss.item()).toBeGreaterThan(0)
    expect((await dx!.tolist() as number[][])[1]).toEqual([0, 0, 0])
  })
  test("a target of unknown value that is no class gives NaN", async () => {
    const loss = crossEntropy(x, add(ints([2, 3, -1]), 0), { reduction: "none" })
    expect((await loss.data()).map(Number.isNaN as never)).toEqual(Float32Array.of(0, 1, 1))
  })
  test("stores nothing of the logits' size but their gradient", () => {
    const logits = tensor(new Float32Array(4000), { shape: [4, 1000] })
    const loss = crossEntropy(logits, ints([1, 2, 3, 4]))
    expect(explain(loss)).not.toMatch(/= map \[4,1000\]/)
    expect(explain(loss, grad(loss, [logits])[0]!).match(/\[4,1000\]/g)).toHaveLength(1)
  })
  test("has second derivatives", async () => {
    const [dx] = grad(crossEntropy(x, y), [x])
    const [again] = grad(sum(mul(dx!, dx!)), [x])
    const p = softmax(x), r = mul(p.sub(oneHot(y, 3, "f32")), 1 / 3)
    // d/dx Σr² = 2·J·r with J = (diag p − p·pᵀ)/3
    await close(again!, mul(mul(p, r.sub(sum(mul(p, r), { axis: 1, keepDims: true }))), 2 / 3))
  })
  test("of no rows is NaN as a mean and 0 as a sum", async () => {
    expect(await crossEntropy(zeros([0, 3]), ints([])).item()).toBeNaN()
    expect(await crossEntropy(zeros([0, 3]), ints([]), { reduction: "sum" }).item()).toBe(0)
  })
  test("of one row without a batch axis", async () => {
    expect(await crossEntropy(tensor([0, 0]), tensor(1, { dtype: "i32" })).item()).toBeCloseTo(Math.LN2, 6)
  })
})

describe("other losses", () => {
  test("huberLoss of infinity has a finite slope", async () => {
    const far = tensor([Infinity, -Infinity])
    expect(await grad(huberLoss(far, zeros([2]), { reduction: "sum", delta: 0.5 }), [far])[0]!.tolist()).toEqual([0.5, -0.5])
  })
  test("bceWithLogits is binaryCrossEntropy of sigmoid; weights multiply", async () => {
    const t = sigmoid(x.mul(2)), options = { weight: tensor([1, 2, 3]), reduction: "none" } as const
    await close(bceWithLogits(x, t, options), binaryCrossEntropy(sigmoid(x), t, options))
    await close(bceWithLogits(x, t, { positiveWeight: tensor(3), reduction: "none" }), bceWithLogits(x, t, { reduction: "none" }).add(mul(mul(t, 2), x.neg().softplus())))
  })
  test("klDivLoss of a target with zeros stays finite, and so does its gradient", async () => {
    const t = tensor([0, 1]), loss = klDivLoss(tensor([-1, -2]), t, { reduction: "batchmean" })
    expect(await loss.item()).toBe(1)
    expect(await grad(loss, [t])[0]!.tolist()).toEqual([0.5, 1.5])
  })
  test("distillationLoss is 0 for equal logits and gives the teacher no gradient", async () => {
    expect(await distillationLoss(x, x, { temperature: 3 }).item()).toBeCloseTo(0, 6)
    const teacher = x.mul(2)
    const [dTeacher] = grad(distillationLoss(x, teacher), [teacher])
    expect(await sum(dTeacher!.abs()).item()).toBe(0)
  })
  test("cosineSimilarity with a zero vector is 0, with a finite gradient", async () => {
    const zero = zeros([3]).add(0)
    const s = cosineSimilarity(zero, tensor([1, 2, 3]))
    expect(await s.item()).toBe(0)
    expect((await grad(s, [zero])[0]!.data()).every(Number.isFinite)).toBe(true)
  })
})
