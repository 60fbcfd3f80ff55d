import { test } from "vitest"
import fc from "fast-check"
import { tensor, type Tensor } from "@thimble/core"
import { sameOnEveryDevice } from "./same.ts"

const same = sameOnEveryDevice()

/** Small whole numbers: sums and products of them are exact in any order. */
const counted = (shape: number[], dtype: "f32" | "i32" | "u8" | "f16"): Tensor =>
  tensor(Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => (i * 7) % 5), { shape, dtype })

const reductions = {
  sum: (x: Tensor, axis: number | number[]) => x.sum({ axis }),
  max: (x: Tensor, axis: number | number[]) => x.amax({ axis }),
  some: (x: Tensor, axis: number | number[]) => x.eq(4).any({ axis }),
  all: (x: Tensor, axis: number | number[]) => x.lt(5).all({ axis }),
  mean: (x: Tensor, axis: number | number[]) => x.add(x).mul(2).sum({ axis }).sub(1).relu(),
} satisfies Record<string, (x: Tensor, axis: number | number[]) => Tensor>

test("joining rows of many columns, whatever their number, in slabs or not", () => fc.assert(fc.asyncProperty(
  fc.record({
    batch: fc.integer({ min: 1, max: 3 }),
    rows: fc.oneof(fc.integer({ min: 16, max: 40 }), fc.constantFrom(127, 128, 129, 300)),
    columns: fc.oneof(fc.integer({ min: 64, max: 90 }), fc.constantFrom(255, 256, 258, 1023, 1024, 1030)),
    dtype: fc.constantFrom("f32" as const, "i32" as const, "u8" as const, "f16" as const),
    reduction: fc.constantFrom(...(Object.keys(reductions) as (keyof typeof reductions)[])),
  }),
  ({ batch, rows, columns, dtype, reduction }) => same(() => reductions[reduction](counted([batch, rows, columns], dtype), 1)),
), { numRuns: 40 }))

test("over two axes around the one that stays, with an operand of each row", () => same(() =>
  counted([5, 3, 20, 70], "f32").mul(counted([3, 20, 1], "f32")).sum({ axis: [0, 2] })))

test("a NaN or an infinity in a column stays in it", async () => {
  const values = new Float32Array(100 * 70)
  values[50 * 70 + 3] = NaN
  values[99 * 70 + 68] = -Infinity
  values[0] = Infinity
  for (const op of ["sum", "amax"] as const) await same(() => tensor(values, { shape: [100, 70] })[op]({ axis: 0 }))
})
