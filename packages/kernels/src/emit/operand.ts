// An operand of a template, or of any loop nest that asks for values along an axis: an expression and its environment.
import { expr, flatten, rewrite, type Expr } from "@thimble/core"
import type { FunctionBuilder, Local } from "./assembler.ts"
import { ExpressionStream, type Environment } from "./expression.ts"
import { loadsOf, strideOf } from "./map.ts"
import type { Operand } from "../template/holes.ts"

export function operand(body: Expr, shape: readonly number[], env: (f: FunctionBuilder) => Environment): Operand {
  const loads = loadsOf(body)
  const score = shape.map((n, axis) => (n === 1 ? -1 : loads.filter((l) => strideOf(l, axis) === 1).length))
  const best = Math.max(...score, 0)
  // Loads whose address is no sum of coordinates, as where small scales are packed.
  const uneven = loads.some((l) => [...expr.sumOf(l.src[0]!).terms.keys()].some((t) => t.op !== "index"))
  return {
    ...(uneven && { quad: (f: FunctionBuilder, axis: number, coords: readonly Local[], quad: Local) => pushQuad(f, env(f), body, axis, coords, quad) }),
    contiguous: best > 0 ? score.lastIndexOf(best) : undefined,
    along(f, axis, coords, position) {
      const stream = new ExpressionStream(f, env(f), axis, coords, position, [body])
      return {
        value: (lanes, offset = 0) => stream.value(body, lanes, offset),
        vectors: (count) => stream.vectors(body, count),
      }
    },
    constantAlong: (axis) => flatten([body]).every((e) => e.op !== "index" || e.value !== axis),
  }
}

/** Coordinates that stand for the quad and the place in it; no kernel has that many axes. */
const quadAxis = 30, placeAxis = 31

/** What the places of a quad share is computed once, as scalars; the rest on vectors, read at once where it is adjacent. */
function pushQuad(f: FunctionBuilder, env: Environment, body: Expr, axis: number, coords: readonly Local[], quad: Local): void {
  const size = Math.max(...flatten([body]).map((e) => (e.op === "index" && e.value === axis ? e.high + 1 : 0)))
  const at = expr.add(expr.mul(expr.index(quadAxis, Math.ceil(size / 4)), expr.int(4)), expr.index(placeAxis, 4))
  const [own] = rewrite([body], (e) => (e.op === "index" && e.value === axis ? at : undefined))
  const all = [...coords], none = f.local("i32")
  all[quadAxis] = quad
  f.i32(0)
  f.set(none)
  new ExpressionStream(f, env, placeAxis, all, none, [own!]).value(own!, 4)
}
