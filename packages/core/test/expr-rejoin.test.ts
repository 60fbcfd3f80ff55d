import { expect, test } from "vitest"
import { expr, showExpr } from "../src/index.ts"
import { flatIndex, unflatten } from "../src/coordinates.ts"

const { freshExprs, index, int, add, mul, div, rem } = expr

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
