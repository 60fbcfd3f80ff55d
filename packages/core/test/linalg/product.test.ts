import fc from "fast-check"
import { expect, test } from "vitest"
import { multiplyAdd } from "../../src/linalg/product.ts"
import { copyInto, copyOf, from, reversed, rowMajor, transposed, upsideDown } from "../../src/linalg/view.ts"
import { distance, multiply, norm, random, transpose, ε } from "./matrices.ts"

const size = fc.oneof(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 90, max: 105 }))

test("C ± A·B equals the plain product, for every combination of transposed operands", () => {
  fc.assert(
    fc.property(size, size, size, fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()), fc.constantFrom(1 as const, -1 as const), (m, n, k, flips, sign) => {
      const a = random(m, k, 1), b = random(k, n, 2), c = random(m, n, 3)
      const A = flips[0] ? transposed(rowMajor(transpose(a, m, k), m)) : rowMajor(a, k)
      const B = flips[1] ? transposed(rowMajor(transpose(b, k, n), k)) : rowMajor(b, n)
      const C = flips[2] ? transposed(rowMajor(transpose(c, m, n), m)) : rowMajor(c.slice(), n)
      multiplyAdd(C, A, B, m, n, k, sign)
      const expected = multiply(a, b, m, k, n).map((x, p) => c[p]! + sign * x)
      expect(distance(copyOf(C, m, n), expected)).toBeLessThanOrEqual(k * ε * norm(a) * norm(b) + m * n * ε)
    }),
    { numRuns: 60 },
  )
})

test("sizes beyond every cache block", () => {
  const m = 101, n = 519, k = 263
  const a = random(m, k, 1), b = random(k, n, 2), c = new Float64Array(m * n)
  multiplyAdd(rowMajor(c, n), rowMajor(a, k), rowMajor(b, n), m, n, k)
  expect(distance(c, multiply(a, b, m, k, n))).toBeLessThan(k * ε * norm(a) * norm(b))
})

test("a product inside a larger matrix touches nothing outside its rectangle", () => {
  const c = new Float64Array(64).fill(7)
  multiplyAdd(from(rowMajor(c, 8), 2, 3), rowMajor(random(3, 5, 1), 5), rowMajor(random(5, 4, 2), 4), 3, 4, 5)
  for (let i = 0; i < 8; i++)
    for (let j = 0; j < 8; j++) expect(c[i * 8 + j] === 7).toBe(!(i >= 2 && i < 5 && j >= 3 && j < 7))
})

test("views with negative strides read and write reversed matrices", () => {
  const a = Float64Array.of(1, 2, 3, 4)
  expect([...copyOf(reversed(rowMajor(a, 2), 2), 2, 2)]).toEqual([4, 3, 2, 1])
  expect([...copyOf(upsideDown(rowMajor(a, 2), 2), 2, 2)]).toEqual([3, 4, 1, 2])
  copyInto(reversed(transposed(rowMajor(a, 2)), 2), Float64Array.of(5, 6, 7, 8), 2, 2)
  expect([...a]).toEqual([8, 6, 7, 5])
})
