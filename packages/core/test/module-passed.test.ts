import { expect, test } from "vitest"
import { add, compile, linear, matmul, mul, neg, realize, tensor, transpose, type Tensor } from "../src/index.ts"

const values = async (t: Tensor): Promise<number[]> => [...(await t.data())]

test("a compiled function may return its arguments as they are, beside what it makes of them", async () => {
  const pass = compile<[{ w: Tensor; ids: Tensor }, number], { w: Tensor; same: Tensor; ids: Tensor; rate: Tensor }>(({ w, ids }, rate) => ({ w: mul(w, rate), same: w, ids, rate }), { donate: [0] })
  for (let i = 1; i < 3; i++) {
    const ids = tensor([5, 6], { dtype: "i32" })
    const out = await pass({ w: tensor([1, 2]), ids }, i)
    expect(await values(out.w)).toEqual([i, 2 * i])
    expect(await values(out.same)).toEqual([1, 2])
    expect(await values(out.ids)).toEqual([5, 6])
    expect(await values(out.rate)).toEqual([i])
    expect(ids.disposed).toBe(true)
  }
})

test("an output may be an operand of another, and what another output expands to", async () => {
  const x = tensor([[1, 2]]), w = tensor([[3, 4]])
  const product = matmul(x, transpose(w)), same = linear(x, w), more = add(product, 1), less = neg(more)
  await realize(same, product, less, more)
  expect(await Promise.all([product, same, more, less].map(values))).toEqual([[11], [11], [12], [-12]])
})
