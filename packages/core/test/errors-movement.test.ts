import { expect, test } from "vitest"
import { chunk, diag, diagonal, flattenAxes, meshgrid, moveAxis, pad, repeat, repeatInterleave, roll, split, splitSizes, tril, unfold, zeros } from "../src/index.ts"

const x = zeros([3, 4])

const cases: readonly [string, () => unknown][] = [
  ["splitSizes: sizes [1, 1] must be whole and add up to axis 0 (2 ≠ 3)", () => splitSizes(x, [1, 1])],
  ["splitSizes: sizes [4, -1] must be whole and add up to axis 0 (3 ≠ 3)", () => splitSizes(x, [4, -1])],
  ["split: the size must be a whole number ≥ 1, got 0", () => split(x, 0)],
  ["split: no axis 2 in a tensor of rank 2; use -2 … 1", () => split(x, 1, 2)],
  ["chunk: the count must be a whole number ≥ 1, got 0", () => chunk(x, 0)],
  ["moveAxis: needs as many different places as axes, got [0, 1] to [1]", () => moveAxis(x, [0, 1], 1)],
  ["flattenAxes: the first axis, 1, comes after the last, 0", () => flattenAxes(x, 1, 0)],
  ["roll: shifts must be whole numbers, got [0.5]", () => roll(x, 0.5, 0)],
  ["roll: 2 shifts for 1 axes", () => roll(x, [1, 2], 0)],
  ["roll: 2 shifts need 2 axes", () => roll(x, [1, 2])],
  ["repeat: needs a whole count ≥ 0 for each axis of [3, 4], got [2]", () => repeat(x, [2])],
  ["repeatInterleave: needs a whole count ≥ 0, got -1", () => repeatInterleave(x, -1, 0)],
  ["meshgrid: needs tensors of one axis, got [3, 4]", () => meshgrid([x])],
  ["diagonal: needs two different axes, got 0 and -2", () => diagonal(x, 0, 0, -2)],
  ["diagonal: the offset must be a whole number, got 0.5", () => diagonal(x, 0.5)],
  ["diag: needs a vector or a matrix, got [1, 2, 3]; diagonal takes any rank", () => diag(zeros([1, 2, 3]))],
  ["tril: needs at least two axes, got [3]", () => tril(zeros([3]))],
  ["tril: the diagonal must be a whole number, got NaN", () => tril(x, NaN)],
  ["pad: 3 pairs for a tensor of rank 2", () => pad(x, [[0, 0], [0, 0], [0, 0]])],
  ["pad: amounts must be whole numbers, got [0.5,0]", () => pad(x, [[0.5, 0]])],
  ["pad: [-3,-2] crops more than there is in [3, 4]", () => pad(x, [[-3, -2]])],
  ["pad: reflect takes 0 … 3 elements for axis 1 of size 4, got [0, 4]", () => pad(x, [[0, 4]], { mode: "reflect" })],
  ["pad: circular takes 0 … 3 elements for axis 0 of size 3, got [-1, 0]", () => pad(x, [[-1, 0], [0, 0]], { mode: "circular" })],
  ["pad: no mode 'mirror'; one of constant, reflect, replicate, circular", () => pad(x, [[1, 1]], { mode: "mirror" as "reflect" })],
  ["unfold: the size must be 1 … 4 (axis 1), got 5", () => unfold(x, 1, 5, 1)],
  ["unfold: the step must be a whole number ≥ 1, got 0", () => unfold(x, 1, 2, 0)],
]
test.each(cases)("%s", (message, call) => {
  expect(call).toThrowError(expect.objectContaining({ name: "ThimbleError", message }))
})
