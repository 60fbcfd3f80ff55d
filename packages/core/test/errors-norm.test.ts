import { expect, test } from "vitest"
import { batchNorm, groupNorm, instanceNorm, layerNorm, logSoftmax, rmsNorm, softmax, zeros } from "../src/index.ts"

const x = zeros([2, 6, 4])

const cases: readonly [string, () => unknown][] = [
  ["softmax: needs floats, got i32; cast to f32 first", () => softmax(zeros([2], "i32"))],
  ["softmax: no axis 3 in a tensor of rank 3; use -3 … 2", () => softmax(x, 3)],
  ["logSoftmax: no axis -1 in a tensor of rank 0; a 0-d tensor has no axes", () => logSoftmax(zeros([]))],
  ["layerNorm: the weight must be [4], got [6]", () => layerNorm(x, zeros([6]))],
  ["layerNorm: the bias must be [6, 4], got [4]", () => layerNorm(x, zeros([6, 4]), zeros([4]))],
  ["layerNorm: cannot normalize 4 axes of [2, 6, 4]", () => layerNorm(x, undefined, undefined, { axes: 4 })],
  ["layerNorm: eps must be ≥ 0, got -1", () => layerNorm(x, undefined, undefined, { eps: -1 })],
  ["rmsNorm: the weight must be [4], got [3]", () => rmsNorm(x, zeros([3]))],
  ["rmsNorm: needs floats, got i32; cast to f32 first", () => rmsNorm(zeros([3], "i32"))],
  ["groupNorm: needs [n, channels, ...], got [3]", () => groupNorm(zeros([3]), 1)],
  ["groupNorm: 4 groups do not divide 6 channels", () => groupNorm(x, 4)],
  ["groupNorm: the weight must be [6], one number per channel, got [3]", () => groupNorm(x, 3, zeros([3]))],
  ["instanceNorm: needs [n, channels, ...], got [3]", () => instanceNorm(zeros([3]))],
  ["batchNorm: the mean must be [6], one number per channel, got [4]", () => batchNorm(x, zeros([4]), zeros([6]))],
  ["batchNorm: training needs more than one value per channel, got [1, 6]", () => batchNorm(zeros([1, 6]), zeros([6]), zeros([6]), undefined, undefined, { training: true })],
]
test.each(cases)("%s", (message, call) => {
  expect(call).toThrowError(expect.objectContaining({ name: "ThimbleError", message }))
})
