import { describe, expect, test } from "vitest"
import { batchNorm, castTo, explain, expand, grad, layerNorm, logSoftmax, ones, referenceDevice, rmsNorm, softmax, sum, tensor, withDevice, zeros } from "../src/index.ts"

const x = tensor([[1, 2, 4], [3, 3, 3]])

describe("softmax", () => {
  test("of an empty tensor is empty, also along an axis of size 0", () => {
    expect(softmax(zeros([0, 3])).shape).toEqual([0, 3])
    expect(logSoftmax(zeros([3, 0])).shape).toEqual([3, 0])
  })
  test("of f16 is computed in f32 and narrowed once", async () => {
    const narrow = castTo(x, "f16")
    expect(softmax(narrow).dtype).toBe("f16")
    expect(await softmax(narrow).tolist()).toEqual(await castTo(softmax(castTo(narrow, "f32")), "f16").tolist())
  })
  test("has second derivatives", async () => {
    const [dx] = grad(sum(softmax(x).mul(tensor([1, 2, 3]))), [x])
    const [again] = grad(sum(dx!.mul(dx!)), [x])
    const step = 1e-2
    const bump = tensor([[step, 0, 0], [0, 0, 0]])
    const at = async (y: typeof x) => (await sum(grad(sum(softmax(y).mul(tensor([1, 2, 3]))), [y])[0]!.mul(grad(sum(softmax(y).mul(tensor([1, 2, 3]))), [y])[0]!)).item())
    const slope = ((await at(x.add(bump))) - (await at(x.sub(bump)))) / (2 * step)
    expect((await again!.data())[0]).toBeCloseTo(slope, 3)
  })
})

describe("a device with templates", () => {
  const device = { ...referenceDevice(), accepts: () => true }
  const shown = (make: () => ReturnType<typeof softmax>): string => withDevice(device, () => explain(make()))
  test("gets softmax over another axis as rows of the last", () => {
    expect(shown(() => softmax(zeros([2, 3, 4]), 1))).toMatch(/softmax \[8,3\] .*<rows=8 columns=3>/)
  })
  test("gets the eps and only the operands there are", () => {
    expect(shown(() => rmsNorm(zeros([2, 8])))).toMatch(/rmsNorm \[2,8\] .*<rows=2 columns=8 eps=0.000001> \{ x\[2,8\]: 0f32 \}/)
    expect(shown(() => layerNorm(zeros([2, 8]), ones([8]), zeros([8])))).toMatch(/eps=0.00001> \{ x\[2,8\]: 0f32 \| weight\[8\]: 1f32 \| bias\[8\]: 0f32 \}/)
  })
})

test("normalizing a broadcast row sums its gradient", async () => {
  const row = tensor([1, 2, 4])
  const [dx] = grad(sum(layerNorm(expand(row, [2, 3])).mul(x)), [row])
  const [one] = grad(sum(layerNorm(row).mul(tensor([4, 5, 7]))), [row])
  const got = await dx!.data(), want = await one!.data()
  got.forEach((g, i) => expect(g).toBeCloseTo(want[i]!, 5))
})

test("batchNorm gives no gradient to running statistics and returns them unchanged outside training", () => {
  const mean = zeros([3]), variance = ones([3])
  const y = batchNorm(x, mean, variance)
  expect(y.mean).toBe(mean)
  expect(y.variance).toBe(variance)
})
