import { expect, test } from "vitest"
import { gather, indexAdd, indexTensor, maskedFill, oneHot, reshape, scatter, scatterAdd, scatterAddTo, take, takeAlong, tensor, updateSlice, zeros } from "../src/index.ts"

const x = zeros([3, 4])
const index = (values: number[] | number[][]) => tensor(values, { dtype: "i32" })

const cases: readonly [string, () => unknown][] = [
  ["gather: indices must be integers, got f32; cast to i32", () => gather(x, 0, zeros([3, 4]))],
  ["gather: indices must be integers, got bool; select by a mask with maskedSelect or where", () => gather(x, 0, zeros([3, 4], "bool"))],
  ["gather: index [2] needs the rank of x [3, 4]; take looks up with an index of any shape", () => gather(x, 0, index([0, 1]))],
  ["gather: index [1, 5] is larger than x [3, 4] (axis 1: 5 > 4); only axis 0 may be longer", () => gather(x, 0, index([[0, 1, 2, 0, 1]]))],
  ["gather: index 4 is outside axis 1 of size 4; use 0 … 3", () => gather(x, -1, index([[4], [0]]))],
  ["gather: no axis 2 in a tensor of rank 2; use -2 … 1", () => gather(x, 2, index([[0]]))],
  ["take: index -1 is outside axis 0 of size 3; use 0 … 2", () => take(x, index([0, -1]))],
  ["take: index 3 is outside axis 0 of size 3; use 0 … 2", () => take(x, reshape(index([3, 1]), [2, 1]))],
  ["take: index 0 is outside axis 0 of size 0; the axis is empty", () => take(zeros([0, 2]), index([0]))],
  ["scatterAdd: src [3, 4] and index [3] must have one shape; expand the index", () => scatterAdd(x, index([0, 1, 2]), 0, 3)],
  ["scatterAdd: size must be a whole number ≥ 0, got 2.5", () => scatterAdd(x, index([[0]]), 0, 2.5)],
  ["scatterAdd: does not take bool; cast to i32", () => scatterAdd(zeros([1], "bool"), index([0]), 0, 2)],
  ["scatterAdd: index 2 is outside axis 0 of size 2; use 0 … 1", () => scatterAdd(zeros([1]), index([2]), 0, 2)],
  ["scatter: x [3, 4], index [1] and src [3, 4] need one rank", () => scatter(x, 0, index([0]), x)],
  ["scatter: dtypes differ, x f32 and src i32; cast src", () => scatter(x, 0, index([[0]]), index([[1]]))],
  ["scatter: index [1, 2] is larger than src [1, 1] (axis 1: 2 > 1)", () => scatter(x, 0, index([[0, 1]]), zeros([1, 1]))],
  ["scatter: 0.5 is no i32; cast x first", () => scatter(index([[1, 2]]), 1, index([[0]]), 0.5)],
  ["scatterAddTo: index [1, 5] is larger than x [3, 4] (axis 1: 5 > 4)", () => scatterAddTo(x, 0, index([[0, 1, 2, 0, 1]]), zeros([1, 5]))],
  ["indexAdd: the index needs one axis, got [1, 2]", () => indexAdd(x, 0, index([[0, 1]]), zeros([2, 4]))],
  ["indexAdd: src must be [2, 4], got [2, 3]", () => indexAdd(x, 0, index([0, 1]), zeros([2, 3]))],
  ["takeAlong: shapes do not broadcast, [3, 1] with [2, 1] (axis -2: 3 ≠ 2); sizes must be equal or 1", () => takeAlong(x, index([[0], [1]]), 1)],
  ["indexTensor: 3 indices for a tensor of rank 2", () => indexTensor(x, [null, null, null])],
  ["indexTensor: index -5 is outside axis 1 of size 4; use -4 … 3", () => indexTensor(x, [null, index([-5, 0])])],
  ["maskedFill: the mask must be bool, got i32; compare it with something", () => maskedFill(x, index([1]), 0)],
  ["maskedFill: the mask [2, 3, 4] does not broadcast to [3, 4]", () => maskedFill(x, zeros([2, 3, 4], "bool"), 0)],
  ["maskedFill: 0.5 is no i32; cast x first", () => maskedFill(index([1]), zeros([1], "bool"), 0.5)],
  ["updateSlice: dtypes differ, target f32 and values i32; cast the values", () => updateSlice(x, index([[1, 2, 3, 4]]), { start: 0 })],
  ["updateSlice: values [1, 3] and target [3, 4] may differ in axis 0 only", () => updateSlice(x, zeros([1, 3]), { start: 0 })],
  ["updateSlice: 5 values do not fit axis 1 of size 4", () => updateSlice(x, zeros([3, 5]), { axis: 1, start: 0 })],
  ["updateSlice: 2 values from 2 leave axis 0 of size 3", () => updateSlice(x, zeros([2, 4]), { start: 2 })],
  ["updateSlice: 2 values from -1 leave axis 0 of size 3", () => updateSlice(x, zeros([2, 4]), { start: -1 })],
  ["updateSlice: 1 values from 4 leave axis 1 of size 4", () => updateSlice(x, zeros([3, 1]), { axis: 1, start: index([0, 4, 1]) })],
  ["updateSlice: start must be a whole number, got 0.5", () => updateSlice(x, zeros([1, 4]), { start: 0.5 })],
  ["updateSlice: start must be an integer, got f32; pass a bigint to the compiled function, or cast to i32", () => updateSlice(x, zeros([1, 4]), { start: zeros([]) })],
  ["updateSlice: start [2] must be one number, or have the first axes of the target [3, 4], before axis 1", () => updateSlice(x, zeros([3, 1]), { axis: 1, start: index([0, 1]) })],
  ["updateSlice: start [3] must be one number, or have the first axes of the target [3, 4], before axis 0", () => updateSlice(x, zeros([1, 4]), { start: index([0, 1, 1]) })],
  ["oneHot: index 4 is outside axis 1 of size 4; use 0 … 3", () => oneHot(index([0, 4]), 4)],
  ["oneHot: needs a whole number of classes ≥ 0, got -1", () => oneHot(index([0]), -1)],
]
test.each(cases)("%s", (message, call) => {
  expect(call).toThrowError(expect.objectContaining({ name: "ThimbleError", message }))
})
