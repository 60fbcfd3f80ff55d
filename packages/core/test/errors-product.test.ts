import { expect, test } from "vitest"
import { addmm, bmm, dot, einsum, outer, zeros } from "../src/index.ts"

const x = zeros([3, 4])

const cases: readonly [string, () => unknown][] = [
  ["einsum: 1 tensors for 2 terms in 'ij,jk'", () => einsum("ij,jk", x)],
  ["einsum: 'ijk' does not fit a tensor of rank 2 in 'ijk->k'", () => einsum("ijk->k", x)],
  ["einsum: '...ijk' does not fit a tensor of rank 2 in '...ijk'", () => einsum("...ijk", x)],
  ["einsum: cannot read 'i.j' in 'i.j->i'; labels are letters, with at most one ellipsis", () => einsum("i.j->i", x)],
  ["einsum: 'j' is 4 and 3, in [3, 4] in 'ij,ji->'", () => einsum("ij,ji->", x, x)],
  ["einsum: 'i' is 3 and 4, in [3, 4] in 'ii'", () => einsum("ii", x)],
  ["einsum: the result's 'k' is no label of an operand in 'ij->ik'", () => einsum("ij->ik", x)],
  ["einsum: the result names 'i' twice in 'ij->ii'", () => einsum("ij->ii", x)],
  ["einsum: more than one arrow in 'ij->i->j'", () => einsum("ij->i->j", x)],
  ["bmm: needs [b, m, k] × [b, k, n], got [3, 4] × [3, 4]; matmul broadcasts", () => bmm(x, x)],
  ["addmm: needs two matrices, got [3, 4] × [4]", () => addmm(x, x, zeros([4]))],
  ["outer: needs two vectors, got [3, 4] and [4]", () => outer(x, zeros([4]))],
  ["dot: needs two vectors, got [] and [4]", () => dot(zeros([]), zeros([4]))],
]
test.each(cases)("%s", (message, call) => {
  expect(call).toThrowError(expect.objectContaining({ name: "ThimbleError", message }))
})
