import { expect, test } from "vitest"
import { compile, grad, mul, sum, tensor, valueAndGrad } from "../src/index.ts"

test("a tensor that stands at two places of the arguments is one tensor inside a compiled function", async () => {
  const tied = tensor([1, 2])
  const step = compile((p: { a: typeof tied; b: typeof tied }) => {
    const { grads } = valueAndGrad((q: typeof p) => sum(mul(q.a, mul(q.a, q.b))))(p)
    return { same: p.a === p.b, ...grads }
  })
  const { same, a, b } = await step({ a: tied, b: tied })
  expect(same).toBe(true)
  // d/dw Σ w³ = 3w²
  expect([...(await a.data())]).toEqual([3, 12])
  expect(b).toBe(a)
})

test("tied and untied arguments of equal shapes are captured apart", async () => {
  const x = tensor([1, 2]), y = tensor([3, 4])
  const product = compile((p: typeof x, q: typeof x) => grad(sum(mul(p, q)), [p])[0]!)
  expect([...(await (await product(x, y)).data())]).toEqual([3, 4])
  expect([...(await (await product(x, x)).data())]).toEqual([2, 4])
  expect([...(await (await product(y, x)).data())]).toEqual([1, 2])
  expect(product.programs).toBe(2)
})
