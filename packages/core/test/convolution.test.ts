import { describe, expect, test } from "vitest"
import { arange, avgPool2d, conv2d, convTranspose2d, explain, grad, maxPool2d, mul, referenceDevice, reshape, sum, tensor, withDevice, zeros, type Tensor } from "../src/index.ts"

const waves = (...shape: number[]): Tensor => {
  const n = shape.reduce((a, b) => a * b, 1)
  return tensor(Float32Array.from({ length: n }, (_, i) => Math.fround(Math.sin(i * 1.7) + 0.1 * i)), { shape })
}

describe("conv2d", () => {
  test("without copying: the windows are read by the matrix product, and padding is read as zero", () => {
    const device = { ...referenceDevice(), accepts: (name: string) => name === "matmul" }
    const shown = withDevice(device, () => explain(conv2d(tensor(new Float32Array(192), { shape: [1, 3, 8, 8] }), tensor(new Float32Array(108), { shape: [4, 3, 3, 3] }), undefined, { padding: 1 })))
    expect(shown.split("\n")).toHaveLength(2)
    expect(shown).toMatch(/^out0 = matmul \[1,4,64\].* a\[1,4,27\]: p1\[add\(mul\(i1, 27\), i2\)\]/)
  })
  test("a sample without its batch axis is a batch of one", async () => {
    const x = waves(2, 5, 4), w = waves(3, 2, 2, 2)
    const one = conv2d(x, w), many = conv2d(reshape(x, [1, 2, 5, 4]), w)
    expect(one.shape).toEqual([3, 4, 3])
    expect(await reshape(one, [-1]).tolist()).toEqual(await reshape(many, [-1]).tolist())
  })
  test("is transposed by convTranspose2d: ⟨conv(x), y⟩ = ⟨x, convTranspose(y)⟩", async () => {
    const options = { stride: [2, 1], padding: [1, 0], dilation: [1, 2], groups: 2 }
    const x = waves(2, 4, 7, 6), w = waves(6, 2, 3, 2), y = waves(2, 6, 4, 4)
    expect(conv2d(x, w, undefined, options).shape).toEqual(y.shape)
    const left = await sum(mul(conv2d(x, w, undefined, options), y)).item()
    const right = await sum(mul(x, convTranspose2d(y, w, undefined, options))).item()
    expect(left).toBeCloseTo(right, 2)
  })
  test("has second derivatives", async () => {
    const x = waves(1, 1, 4, 4), w = waves(1, 1, 2, 2)
    const [dw] = grad(sum(mul(conv2d(x, w), conv2d(x, w))), [w])
    const [dx] = grad(sum(dw!), [x])
    const step = 0.01, bump = tensor([[[[step, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]]])
    const at = async (v: Tensor) => sum(grad(sum(mul(conv2d(v, w), conv2d(v, w))), [w])[0]!).item()
    expect((await dx!.data())[0]).toBeCloseTo(((await at(x.add(bump))) - (await at(x.sub(bump)))) / (2 * step), 2)
  })
  test("of an empty batch is empty", () => expect(conv2d(zeros([0, 2, 4, 4]), zeros([3, 2, 2, 2])).shape).toEqual([0, 3, 3, 3]))
})

describe("pooling", () => {
  test("a tie goes to the first cell, NaN wins, and padding is never chosen", async () => {
    const { values, indices } = maxPool2d(tensor([[[1, 1, 2, NaN], [1, 0, NaN, 5]]]), 2)
    expect(await values.tolist()).toEqual([[[1, NaN]]])
    expect(await indices.tolist()).toEqual([[[0, 6]]])
    const low = maxPool2d(tensor([[[-Infinity, -Infinity], [-Infinity, -Infinity]]]), 2, { padding: 1 })
    expect(await low.indices.tolist()).toEqual([[[0, 1], [2, 3]]])
  })
  test("the gradient of overlapping windows adds up at the chosen cell", async () => {
    const x = reshape(arange(0, 9, 1, "f32"), [1, 3, 3])
    const [dx] = grad(sum(maxPool2d(x, 2, { stride: 1 }).values), [x])
    expect(await dx!.tolist()).toEqual([[[0, 0, 0], [0, 1, 1], [0, 1, 1]]])
  })
  test("a mean ignores infinity elsewhere", async () => {
    expect(await avgPool2d(tensor([[[1, 3, Infinity, 0]]]), [1, 2]).tolist()).toEqual([[[2, Infinity]]])
  })
})
