import { expect, test } from "vitest"
import { grad, mul, randn, square, sum, valueAndGrad } from "../src/index.ts"

test("parameters that are not computed yet are leaves of differentiation, whatever makes them", async () => {
  const w = randn([3], { seed: 1 })
  const { grads } = valueAndGrad((p: { w: typeof w }) => sum(square(p.w)))({ w })
  expect([...(await grads.w.data())]).toEqual([...(await mul(w, 2).data())])
})

test("a target that another target depends on still gets its gradient through it", async () => {
  const a = randn([2], { seed: 2 }), b = square(a)
  const [ga, gb] = grad(sum(mul(b, 3)), [a, b])
  expect([...(await gb!.data())]).toEqual([3, 3])
  expect([...(await ga!.data())]).toEqual([...(await mul(mul(a, 2), 3).data())])
})
