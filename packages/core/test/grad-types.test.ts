import { expect, test } from "vitest"
import { customVjp, grad, mul, neg, sum, tensor } from "../src/index.ts"

test("a gradient has the dtype of what it is the gradient of", () => {
  const x = tensor([1, 2], { dtype: "f16" })
  expect(grad(sum(mul(neg(x), 3)), [x])[0]!.dtype).toBe("f16")
})
test("a custom rule that gives another dtype or shape is refused", () => {
  const x = tensor([1, 2], { dtype: "f16" })
  const wrongType = customVjp((a) => mul(a, 2), (dy) => [dy.cast("f32")])
  expect(() => grad(sum(wrongType(x)), [x])).toThrow("customVjp: the backward rule gave f32[2] for operand 0, f16[2]")
  const wrongShape = customVjp((a) => mul(a, 2), (dy) => [sum(dy)])
  expect(() => grad(sum(wrongShape(x)), [x])).toThrow("customVjp: the backward rule gave f16[] for operand 0, f16[2]")
})
test("a seed of another dtype than the loss is refused", () => {
  const x = tensor([1, 2], { dtype: "f16" })
  expect(() => grad(neg(x), [x], tensor([1, 1]))).toThrow("grad: the seed is f32, the loss f16; cast the seed to f16")
})
