import { expect, test } from "vitest"
import { adaptiveAvgPool2d, avgPool2d, conv1d, conv2d, convTranspose2d, interpolate, maxPool2d, zeros } from "../src/index.ts"

const x = zeros([1, 4, 5, 6]), w = zeros([6, 4, 3, 3])

const cases: readonly [string, () => unknown][] = [
  ["conv2d: the input must be [n, channels, height, width], got [5, 6]", () => conv2d(zeros([5, 6]), w)],
  ["conv1d: the input must be [n, channels, width], got [1, 4, 5, 6]", () => conv1d(x, zeros([6, 4, 3]))],
  ["conv2d: the weight must have 4 axes, got [6, 4, 3]", () => conv2d(x, zeros([6, 4, 3]))],
  ["conv2d: needs floats, got i32 and i32; cast to f32 first", () => conv2d(zeros([1, 4, 5, 6], "i32"), zeros([6, 4, 3, 3], "i32"))],
  ["conv2d: 3 groups do not divide the channels of input [1, 4, 5, 6] and weight [6, 4, 3, 3]", () => conv2d(x, w, undefined, { groups: 3 })],
  ["conv2d: the weight [6, 4, 3, 3] sees 4 channels of 2 (4 in 2 groups)", () => conv2d(x, w, undefined, { groups: 2 })],
  ["conv2d: stride must be a whole number ≥ 1, or 2 of them, got 0", () => conv2d(x, w, undefined, { stride: 0 })],
  ["conv2d: padding must be a whole number ≥ 0, or 2 of them, got [1, 2, 3]", () => conv2d(x, w, undefined, { padding: [1, 2, 3] })],
  ["conv2d: the kernel [3, 3] is larger than the padded input [2, 6]", () => conv2d(zeros([4, 2, 6]), w)],
  ["conv2d: the bias must be [6], got [4]", () => conv2d(x, w, zeros([4]))],
  ["convTranspose2d: the weight [6, 4, 3, 3] is for 6 channels, the input has 4", () => convTranspose2d(x, w)],
  ["convTranspose2d: outputPadding [1, 1] must be smaller than the stride or the dilation", () => convTranspose2d(x, zeros([4, 6, 3, 3]), undefined, { outputPadding: 1 })],
  ["convTranspose2d: the padding [4, 4] leaves nothing of the result [-1, 0]", () => convTranspose2d(x, zeros([4, 6, 3, 3]), undefined, { padding: 4 })],
  ["maxPool2d: needs [..., channels, height, width], got [5, 6]", () => maxPool2d(zeros([5, 6]), 2)],
  ["maxPool2d: the kernel must be a whole number ≥ 1, or 2 of them, got 1.5", () => maxPool2d(x, 1.5)],
  ["maxPool2d: padding [2, 2] must be at most half of the kernel [3, 3]", () => maxPool2d(x, 3, { padding: 2 })],
  ["avgPool2d: the kernel [6, 6] is larger than the padded input [5, 6]", () => avgPool2d(x, 6)],
  ["avgPool2d: needs floats, got i32; cast to f32 first", () => avgPool2d(zeros([1, 4, 4], "i32"), 2)],
  ["adaptiveAvgPool2d: cannot cut [5, 6] into [0, 6] parts", () => adaptiveAvgPool2d(x, [0, null])],
  ["interpolate: the size must be two whole numbers ≥ 1, got [3, 0]", () => interpolate(x, [3, 0])],
  ["interpolate: no mode 'cubic'; one of nearest, bilinear", () => interpolate(x, [3, 3], { mode: "cubic" as "nearest" })],
  ["interpolate: needs [..., height, width] with elements, got [0, 3]", () => interpolate(zeros([0, 3]), [3, 3])],
]
test.each(cases)("%s", (message, call) => {
  expect(call).toThrowError(expect.objectContaining({ name: "ThimbleError", message }))
})
