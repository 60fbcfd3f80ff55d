import { expect, test } from "vitest"
import { fault, sample } from "../check.ts"
import { ratio } from "../row.ts"

const expected = { size: 4, at: Uint32Array.of(0, 3), values: Float64Array.of(1, -1), scale: 1 }
const judged = (...values: number[]) => fault(sample(Float32Array.from(values), expected.at), expected, 1e-3)

test("a result is right when the sampled elements are close and all are finite", () => {
  expect(judged(1.0005, 7, 7, -1)).toBeUndefined()
  expect(judged(1.01, 7, 7, -1)).toBe("wrong result: off by 1.0e-2, 0.001 allowed")
  expect(judged(1, NaN, 7, -1)).toBe("result is not finite")
  expect(judged(1, 7)).toBe("result has 2 elements, expected 4")
})

test("a ratio above 1 means that we are faster, in every unit", () => {
  expect(ratio("ms", 5, 10)).toBe(2)
  expect(ratio("GFLOP/s", 10, 5)).toBe(2)
  expect(ratio("GB/s", 10, 5)).toBe(2)
})
