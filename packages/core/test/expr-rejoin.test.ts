import fc from "fast-check"
import { expect, test } from "vitest"
import { expr, showExpr, type Expr } from "../src/index.ts"
import { flatIndex, unflatten } from "../src/coordinates.ts"

const { freshExprs, index, int, add, sub, mul, div, rem } = expr

test("a coordinate that was split and put together again is itself, however often it was split", () => {
  freshExprs(() => {
    const i = index(0, 27)
    expect(add(mul(div(i, int(3)), int(3)), rem(i, int(3)))).toBe(i)
    expect(flatIndex(unflatten(i, [3, 3, 3]), [3, 3, 3])).toBe(i)
  })
})
test("also as a part of a position, times its stride", () => {
  freshExprs(() => {
    const i = index(0, 4), j = index(1, 24)
    const [a, b, c, d] = unflatten(j, [2, 3, 2, 2]) as [typeof i, typeof i, typeof i, typeof i]
    expect(showExpr(flatIndex([i, a, b, c, d, int(0)], [4, 2, 3, 2, 2, 5]))).toBe("add(mul(i0, 120), mul(i1, 5))")
  })
})
test("but not with a part missing or out of place", () => {
  freshExprs(() => {
    const i = index(0, 27)
    expect(showExpr(add(mul(div(i, int(9)), int(9)), rem(i, int(3))))).toBe("add(mul(div(i0, 9), 9), rem(i0, 3))")
    expect(showExpr(add(mul(div(i, int(3)), int(6)), rem(i, int(3))))).toBe("add(rem(i0, 3), mul(div(i0, 3), 6))")
  })
})

test("a quotient or remainder of a multiple, too: neighbours are written alike", () => {
  freshExprs(() => {
    const b = index(0, 128), at = mul(b, int(4)), next = add(at, int(1))
    expect(div(at, int(32))).toBe(div(b, int(8)))
    expect(showExpr(rem(at, int(16)))).toBe("mul(rem(i0, 4), 4)")
    const place = (x: Expr): Expr => add(mul(div(x, int(32)), int(16)), rem(x, int(16)))
    expect(showExpr(sub(place(next), place(at)))).toBe("1")
  })
})

test("a quotient or remainder of a sum takes what its divisor shares with the coefficients out of it", () => {
  freshExprs(() => {
    const b = index(0, 128), i = index(1, 16)
    const at = add(add(mul(b, int(32)), i), int(16))
    expect(showExpr(div(at, int(64)))).toBe("div(i0, 2)")
    expect(showExpr(rem(at, int(64)))).toBe("add(add(i1, mul(rem(i0, 2), 32)), 16)")
    expect(add(mul(div(at, int(64)), int(64)), rem(at, int(64)))).toBe(at)
    // The rest may reach into the next multiple: nothing can be taken out.
    expect(showExpr(div(add(at, i), int(64)))).toBe("div(add(add(mul(i0, 32), mul(i1, 2)), 16), 64)")
  })
})

test("simplified quotients and remainders keep their values", () => {
  const part = fc.tuple(fc.constantFrom(1, 2, 3, 4, 6, 8, 12, 16, 32), fc.constantFrom(2, 3, 4, 8, 16))
  fc.assert(fc.property(fc.array(part, { minLength: 1, maxLength: 3 }), fc.nat(70), fc.constantFrom(2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 256), fc.constantFrom(2, 4, 8, 32), fc.array(fc.nat(), { minLength: 3, maxLength: 3 }), (terms, rest, d, e, raw) => {
    freshExprs(() => {
      const coords = terms.map(([, n], axis) => raw[axis]! % n)
      const a = terms.reduce((sum, [k, n], axis) => add(sum, mul(index(axis, n), int(k))), int(rest))
      const value = terms.reduce((sum, [k], axis) => sum + k * coords[axis]!, rest)
      const at = (x: Expr): number => evaluate(x, coords)
      expect([at(div(a, int(d))), at(rem(a, int(d))), at(rem(div(a, int(e)), int(d))), at(div(rem(a, int(d)), int(e)))]).toEqual(
        [Math.floor(value / d), value % d, Math.floor(value / e) % d, Math.floor((value % d) / e)])
    })
  }), { numRuns: 500 })
})

/** What index arithmetic gives at some coordinates. */
function evaluate(x: Expr, coords: readonly number[]): number {
  const [a, b] = x.src.map((s) => evaluate(s, coords)) as [number, number]
  const meaning: Partial<Record<Expr["op"], () => number>> = { const: () => x.value, index: () => coords[x.value]!, add: () => a + b, mul: () => a * b, div: () => Math.trunc(a / b), rem: () => a % b }
  const value = meaning[x.op]!()
  expect(value >= x.low && value <= x.high).toBe(true)
  return value
}
