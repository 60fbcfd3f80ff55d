import { expect, test } from "vitest"
import { expr, showExpr } from "@thimble/core"
import { coalesce } from "../src/emit/coalesce.ts"

const { add, div, index, int, load, mul } = expr

test("axes that memory does not tell apart become one", () => {
  expr.freshExprs(() => {
    const [i, j] = [index(0, 3), index(1, 4)]
    const { shape, bodies } = coalesce([3, 4], 2, [load(1, "f32", add(mul(i, int(4)), j))])
    expect([shape, showExpr(bodies[0]!)]).toEqual([[12], "p1[i0]"])
  })
})

test("a quotient that crosses axes keeps them apart, and keeps its value", () => {
  // Once, putting i·12 + j together again left index m, which the same rewrite then took for the outer axis.
  expr.freshExprs(() => {
    const [i, j] = [index(0, 6), index(1, 12)]
    const at = div(add(mul(i, int(12)), j), int(18))
    const { shape, bodies } = coalesce([6, 12], 2, [load(1, "f32", at)])
    expect([shape, showExpr(bodies[0]!)]).toEqual([[6, 12], "p1[div(add(mul(i0, 12), i1), 18)]"])
  })
})
