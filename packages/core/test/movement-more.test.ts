import { expect, test } from "vitest"
import { arange, chunk, diag, diagonal, flattenAxes, grad, meshgrid, mul, pad, repeatInterleave, reshape, roll, sum, tensor, trace, unfold, zeros } from "../src/index.ts"

const matrix = reshape(arange(12), [3, 4])

test("roll without axes rolls the flat tensor; shifts wrap and add up", async () => {
  expect(await roll(reshape(arange(4), [2, 2]), 1).tolist()).toEqual([[3, 0], [1, 2]])
  expect(await roll(arange(3), [1, 1], [0, 0]).tolist()).toEqual(await roll(arange(3), -7, 0).tolist())
  expect(roll(zeros([0, 2]), 1, 0).shape).toEqual([0, 2])
})
test("diagonals above and below, on any two axes", async () => {
  expect(await diagonal(matrix, 2).tolist()).toEqual([2, 7])
  expect(await diagonal(matrix, -1).tolist()).toEqual([4, 9])
  expect(diagonal(matrix, 7).shape).toEqual([0])
  expect(diagonal(zeros([2, 3, 4]), 0, 0, 2).shape).toEqual([3, 2])
  expect(await diag(arange(1, 3), -1).tolist()).toEqual([[0, 0, 0], [1, 0, 0], [0, 2, 0]])
  expect(await diag(diag(arange(1, 4), 2), 2).tolist()).toEqual([1, 2, 3])
  expect(await trace(matrix).item()).toBe(15)
})
test("flattenAxes, meshgrid and repeatInterleave", async () => {
  expect(flattenAxes(zeros([2, 3, 4]), 1).shape).toEqual([2, 12])
  expect(flattenAxes(zeros([])).shape).toEqual([1])
  const [x, y] = meshgrid([arange(2), arange(3)], "xy")
  expect(await x!.tolist()).toEqual([[0, 1], [0, 1], [0, 1]])
  expect(await y!.tolist()).toEqual([[0, 0], [1, 1], [2, 2]])
  expect(await repeatInterleave(reshape(arange(4), [2, 2]), 2).tolist()).toEqual([0, 0, 1, 1, 2, 2, 3, 3])
})
test("chunks of an empty axis are empty", () => expect(chunk(zeros([0, 2]), 2).map((t) => t.shape)).toEqual([[0, 2], [0, 2]]))
test("padding of every axis at once, and of integers", async () => {
  expect(await pad(reshape(arange(4), [2, 2]), [[1, 0], [0, 1]], { value: 9 }).tolist()).toEqual([[9, 9, 9], [0, 1, 9], [2, 3, 9]])
  expect(await pad(arange(3), [[2, 2]], { mode: "reflect" }).tolist()).toEqual([2, 1, 0, 1, 2, 1, 0])
  expect(await pad(arange(3), [[3, 1]], { mode: "circular" }).tolist()).toEqual([0, 1, 2, 0, 1, 2, 0])
})
test("the gradient of windows adds overlaps up, and is itself differentiable", async () => {
  const x = tensor([1, 2, 3, 4, 5])
  const y = unfold(x, 0, 3, 2)
  expect(await y.tolist()).toEqual([[1, 2, 3], [3, 4, 5]])
  const [dx] = grad(sum(mul(y, y)), [x])
  expect(await dx!.tolist()).toEqual([2, 4, 12, 8, 10])
  const [again] = grad(sum(mul(dx!, tensor([1, 10, 100, 1000, 10000]))), [x])
  expect(await again!.tolist()).toEqual([2, 20, 400, 2000, 20000])
})
