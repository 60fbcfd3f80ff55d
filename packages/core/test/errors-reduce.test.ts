import { expect, test } from "vitest"
import {
  amax, amin, argmax, argmin, argsort, cummax, cumprod, cumsum, logsumexp, max, maskedSelect, mean, median, min, norm, quantile, sort, std, sum, tensor, ThimbleError, topk,
  variance, zeros, type ErrorCode,
} from "../src/index.ts"

const f = tensor([[1, 2, 3]]), i = tensor([1, 2], { dtype: "i32" }), none = zeros([2, 0])
const floats = "needs floats, got i32; cast to f32 first"
const noAxis = "no axis 2 in a tensor of rank 2; use -2 … 1"

const refused: readonly [ErrorCode, string, () => unknown][] = [
  ["axis", `sum: ${noAxis}`, () => sum(f, { axis: 2 })],
  ["axis", "sum: axis 1 is named twice", () => sum(f, { axis: [1, -1] })],
  ["dtype", `mean: ${floats}`, () => mean(i)],
  ["dtype", `variance: ${floats}`, () => variance(i)],
  ["dtype", `variance: ${floats}`, () => std(i)],
  ["dtype", `logsumexp: ${floats}`, () => logsumexp(i)],
  ["dtype", `norm: ${floats}`, () => norm(i)],
  ["value", "norm: p is NaN", () => norm(f, { p: NaN })],
  ["value", "amax: nothing to reduce in [2, 0]; an empty reduction has no identity", () => amax(none, { axis: 1 })],
  ["value", "amin: nothing to reduce in [2, 0]; an empty reduction has no identity", () => amin(none)],
  ["value", "max: nothing to choose from in [2, 0]; axis 1 is empty", () => max(none, 1)],
  ["value", "argmin: nothing to choose from in [2, 0]", () => argmin(none)],
  ["axis", `argmax: ${noAxis}`, () => argmax(f, { axis: 2 })],
  ["axis", `min: ${noAxis}`, () => min(f, 2)],
  ["axis", `cumsum: ${noAxis}`, () => cumsum(f, 2)],
  ["axis", `cumprod: ${noAxis}`, () => cumprod(f, 2)],
  ["axis", `cummax: ${noAxis}`, () => cummax(f, 2)],
  ["axis", `sort: ${noAxis}`, () => sort(f, { axis: 2 })],
  ["axis", "argsort: no axis -1 in a tensor of rank 0; a 0-d tensor has no axes", () => argsort(tensor(1))],
  ["value", "topk: cannot take 4 of the 3 elements of axis -1 in [1, 3]", () => topk(f, 4)],
  ["value", "topk: cannot take 0.5 of the 3 elements of axis -1 in [1, 3]", () => topk(f, 0.5)],
  ["value", "quantile: q must lie in 0 … 1, got 50", () => quantile(f, 50)],
  ["value", "quantile: nothing to choose from in [2, 0]", () => quantile(none, 0.5, { axis: 1 })],
  ["value", "median: nothing to choose from in [2, 0]", () => median(none)],
  ["dtype", `median: ${floats}`, () => median(i)],
]
test.each(refused)("%s: %s", (code, message, call) => {
  try {
    call()
  } catch (e) {
    expect(e).toBeInstanceOf(ThimbleError)
    return expect([(e as ThimbleError).code, (e as ThimbleError).message]).toEqual([code, message])
  }
  throw new Error("was not refused")
})

test("maskedSelect refuses what is no mask, or does not fit", async () => {
  await expect(maskedSelect(f, f)).rejects.toThrow("maskedSelect: the mask must be bool, got f32; compare it with something")
  await expect(maskedSelect(f, tensor([true, false]))).rejects.toThrow("maskedSelect: shapes do not broadcast, [1, 3] with [2] (axis -1: 3 ≠ 2); sizes must be equal or 1")
})
