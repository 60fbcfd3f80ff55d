import { expect, test } from "vitest"
import { binaryCrossEntropy, cosineSimilarity, crossEntropy, distillationLoss, huberLoss, klDivLoss, mseLoss, nllLoss, smoothL1Loss, tensor, zeros } from "../src/index.ts"

const x = zeros([2, 3]), y = tensor([0, 2], { dtype: "i32" })

const cases: readonly [string, () => unknown][] = [
  ["mseLoss: the input [2, 3] and target [3] must have one shape; expand or reshape one of them", () => mseLoss(x, zeros([3]))],
  ["mseLoss: needs floats, got i32; cast to f32 first", () => mseLoss(y, y)],
  ["mseLoss: no reduction 'avg'; one of none, mean, sum", () => mseLoss(x, x, { reduction: "avg" as "mean" })],
  ["klDivLoss: no reduction 'avg'; one of none, mean, sum, batchmean", () => klDivLoss(x, x, { reduction: "avg" as "mean" })],
  ["huberLoss: delta must be positive, got 0", () => huberLoss(x, x, { delta: 0 })],
  ["smoothL1Loss: beta must be ≥ 0, got -1", () => smoothL1Loss(x, x, { beta: -1 })],
  ["binaryCrossEntropy: the input [2, 3] and target [2] must have one shape; expand or reshape one of them", () => binaryCrossEntropy(x, zeros([2]))],
  ["distillationLoss: the temperature must be positive, got 0", () => distillationLoss(x, x, { temperature: 0 })],
  ["cosineSimilarity: needs floats, got i32 and i32; cast to f32 first", () => cosineSimilarity(y, y)],
  ["crossEntropy: target 3 is none of 3 classes, nor the ignored -100", () => crossEntropy(x, tensor([0, 3], { dtype: "i32" }))],
  ["crossEntropy: target -1 is none of 3 classes, nor the ignored -100", () => crossEntropy(x, tensor([-1, 0], { dtype: "i32" }))],
  ["crossEntropy: targets must be [2] for classes on axis -1 of [2, 3], got [3]; name the class axis with { axis }", () => crossEntropy(x, tensor([0, 1, 2], { dtype: "i32" }))],
  ["crossEntropy: targets must be integers, got bool", () => crossEntropy(x, zeros([2], "bool"))],
  ["crossEntropy: the logits [2, 3] and probabilities [2] must have one shape", () => crossEntropy(x, zeros([2]))],
  ["crossEntropy: the weight must be [3], one number per class, got [2]", () => crossEntropy(x, y, { weight: zeros([2]) })],
  ["crossEntropy: labelSmoothing must lie in 0 … 1, got 2", () => crossEntropy(x, y, { labelSmoothing: 2 })],
  ["crossEntropy: needs floats, got i32; cast to f32 first", () => crossEntropy(zeros([2, 3], "i32"), y)],
  ["nllLoss: no axis 2 in a tensor of rank 2; use -2 … 1", () => nllLoss(x, y, { axis: 2 })],
]
test.each(cases)("%s", (message, call) => {
  expect(call).toThrowError(expect.objectContaining({ name: "ThimbleError", message }))
})
