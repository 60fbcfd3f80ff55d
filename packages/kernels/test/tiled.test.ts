import { test } from "vitest"
import fc from "fast-check"
import { tensor, type DType, type Tensor } from "@thimble/core"
import { sameOnEveryDevice } from "./same.ts"

const same = sameOnEveryDevice()

/** Sizes around the edges of tiles, of packing groups and of vectors. */
const size = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constantFrom(63, 64, 65, 67, 80, 131))
const dtypes: DType[] = ["f32", "i32", "u32", "f16", "bf16", "u8", "i8", "i16", "bool", "f64"]

/** Every element its own value, in every dtype's range as far as that goes. */
const counted = (shape: number[], dtype: DType, from = 0): Tensor =>
  tensor(Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => ((i * 37 + from) % 199) - (dtype.startsWith("u") ? 0 : 99)), { shape, dtype })

test("any order of axes, of every dtype, is the reference device's to the bit", () => fc.assert(fc.asyncProperty(
  fc.tuple(size, size, fc.integer({ min: 1, max: 3 })).chain((dims) => fc.record({
    dims: fc.shuffledSubarray(dims, { minLength: 3, maxLength: 3 }),
    order: fc.shuffledSubarray([0, 1, 2], { minLength: 3, maxLength: 3 }),
    dtype: fc.constantFrom(...dtypes),
  })),
  ({ dims, order, dtype }) => same(() => counted(dims, dtype).permute(order)),
), { numRuns: 60 }))

test("operands along and across the output meet in one expression", () => fc.assert(fc.asyncProperty(
  size, size, fc.constantFrom<DType>("f32", "i32", "f16"),
  (rows, columns, dtype) => same(() => {
    const along = counted([rows, columns], dtype), across = counted([columns, rows], dtype, 5), other = counted([columns, rows], "i16", 11)
    return across.T.mul(2).add(along).sub(other.T).add(counted([rows, 1], dtype, 3))
  }),
), { numRuns: 40 }))

test("parts of matrices, mirrored and padded, on the far side of a transposition", () => same(() => {
  const x = counted([100, 90], "f32")
  return x.T.slice([3, 83], [10, 80]).flip(0).add(x.slice([7, 87], [1, 71]).flip(1)).pad([[2, 1], [0, 3]])
}))
