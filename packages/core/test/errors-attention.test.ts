import { expect, test } from "vitest"
import { attention, embedding, rope, rotation, tensor, zeros } from "../src/index.ts"

const q = zeros([1, 4, 3, 8]), k = zeros([1, 2, 5, 8])

const cases: readonly [string, () => unknown][] = [
  ["attention: needs [batch, heads, positions, features], q [4, 3, 8], k [1, 2, 5, 8], v [1, 2, 5, 8]; unsqueeze a batch of one", () => attention(zeros([4, 3, 8]), k, k)],
  ["attention: batches, key heads or keys differ, q [1, 4, 3, 8], k [1, 2, 5, 8], v [1, 2, 6, 8]", () => attention(q, k, zeros([1, 2, 6, 8]))],
  ["attention: q and k differ in features (8 ≠ 4), q [1, 4, 3, 8], k [1, 2, 5, 4], v [1, 2, 5, 8]", () => attention(q, zeros([1, 2, 5, 4]), k)],
  ["attention: 4 query heads are no multiple of 3 key heads, q [1, 4, 3, 8], k [1, 3, 5, 8], v [1, 3, 5, 8]", () => attention(q, zeros([1, 3, 5, 8]), zeros([1, 3, 5, 8]))],
  ["attention: needs floats, got i32; cast to f32 first", () => attention(zeros([1, 4, 3, 8], "i32"), k, k)],
  ["attention: shapes do not broadcast, [2, 3, 5] with [1, 4, 3, 5] (axis -3: 2 ≠ 4); sizes must be equal or 1", () => attention(q, k, k, { mask: zeros([2, 3, 5]) })],
  ["attention: the mask [2, 4, 3, 5] does not broadcast to [1, 4, 3, 5]", () => attention(q, k, k, { mask: zeros([2, 4, 3, 5]) })],
  ["attention: the mask must be bool or float, got i32", () => attention(q, k, k, { mask: zeros([3, 5], "i32") })],
  ["attention: the window must be a whole number ≥ 0, got -1", () => attention(q, k, k, { causal: true, window: -1 })],
  ["attention: a window needs causal attention", () => attention(q, k, k, { window: 2 })],
  ["attention: length must be one number, got [2]", () => attention(q, k, k, { length: zeros([2], "i32") })],
  ["attention: qOffset must be a whole number, got 0.5", () => attention(q, k, k, { qOffset: 0.5 })],
  ["attention: the scale must be finite, got NaN", () => attention(q, k, k, { scale: NaN })],
  ["rope: needs an even number of features, got 7", () => rope(zeros([2, 7]))],
  ["rope: needs [..., positions, features], got [8]", () => rope(zeros([8]))],
  ["rope: needs floats, got i32; cast to f32 first", () => rope(zeros([2, 8], "i32"))],
  ["rope: frequencies must be [4], got [8]", () => rope(zeros([2, 8]), { frequencies: zeros([8]) })],
  ["rope: no layout 'neox'; half or interleaved", () => rope(zeros([2, 8]), { layout: "neox" as "half" })],
  ["rope: base and scaling must be positive, got 0 and 1", () => rope(zeros([2, 8]), { base: 0 })],
  ["rope: tables of 3 positions and 8 features do not fit [2, 8]", () => rope(zeros([2, 8]), rotation(3, 8))],
  ["rope: tables of 2 positions and 16 features do not fit [2, 8]", () => rope(zeros([2, 8]), rotation(2, 16))],
  ["rope: tables [5, 2, 2, 4] have more axes than [2, 8]", () => rope(zeros([2, 8]), { offset: zeros([5]) })],
  ["embedding: the weight needs two axes [rows, features], got [3]", () => embedding(zeros([3]), tensor([0], { dtype: "i32" }))],
  ["embedding: paddingIndex 3 is no row of [3, 2]", () => embedding(zeros([3, 2]), tensor([0], { dtype: "i32" }), { paddingIndex: 3 })],
  ["take: index 3 is outside axis 0 of size 3; use 0 … 2", () => embedding(zeros([3, 2]), tensor([3], { dtype: "i32" }))],
]
test.each(cases)("%s", (message, call) => {
  expect(call).toThrowError(expect.objectContaining({ name: "ThimbleError", message }))
})
