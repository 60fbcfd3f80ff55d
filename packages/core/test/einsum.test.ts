import { expect, test } from "vitest"
import { addmm, arange, einsum, explain, full, reshape, sum, tensor, zeros, type Tensor } from "../src/index.ts"

const counting = (...shape: number[]): Tensor => reshape(arange(shape.reduce((a, b) => a * b, 1), undefined, 1, "f32"), shape)

test("labels that broadcast: sizes of 1, and ellipses of different length", async () => {
  expect(await einsum("ij,ij->ij", counting(2, 1), counting(2, 3)).tolist()).toEqual([[0, 0, 0], [3, 4, 5]])
  expect(await einsum("ij,jk->ik", counting(2, 1), counting(3, 1)).tolist()).toEqual([[0], [3]])
  expect(einsum("...i,...i->...", counting(2, 3, 4), counting(3, 4)).shape).toEqual([2, 3])
  expect(einsum("b...,...c", zeros([5, 2, 3]), zeros([2, 3, 4])).shape).toEqual([2, 3, 5, 4])
})
test("without an arrow the labels that occur once stand in alphabetical order", () => {
  expect(einsum("ba", zeros([2, 3])).shape).toEqual([3, 2])
  expect(einsum("ij,jh", zeros([2, 3]), zeros([3, 4])).shape).toEqual([4, 2])
})
test("repeated labels within a product, and labels only one operand has", async () => {
  const x = counting(2, 2), y = counting(2, 3)
  expect(await einsum("ii,ij->j", x, y).tolist()).toEqual([9, 12, 15])
  expect(await einsum("iij->ij", counting(2, 2, 2)).tolist()).toEqual([[0, 1], [6, 7]])
  expect(await einsum("ij,kl->il", x, y).tolist()).toEqual(await einsum("i,l->il", sum(x, { axis: 1 }), sum(y, { axis: 0 })).tolist())
})
test("a chain of products contracts its cheapest pair first", () => {
  const shown = explain(einsum("ij,jk,k->i", zeros([8, 9]), zeros([9, 10]), zeros([10])))
  expect(shown).not.toMatch(/\[8,10\]/)
  expect(shown).not.toMatch(/\[1,8,10\]/)
})
test("addmm with beta 0 ignores NaN", async () => {
  expect(await addmm(full([1, 1], NaN), tensor([[2]]), tensor([[3]]), { beta: 0 }).tolist()).toEqual([[6]])
})
