// An operand of a template, or of any loop nest that asks for values along an axis: an expression and its environment.
import { flatten, type Expr } from "@thimble/core"
import type { FunctionBuilder } from "./assembler.ts"
import { ExpressionStream, type Environment } from "./expression.ts"
import { loadsOf, strideOf } from "./map.ts"
import type { Operand } from "../template/holes.ts"

export function operand(body: Expr, shape: readonly number[], env: (f: FunctionBuilder) => Environment): Operand {
  const loads = loadsOf(body)
  const score = shape.map((n, axis) => (n === 1 ? -1 : loads.filter((l) => strideOf(l, axis) === 1).length))
  const best = Math.max(...score, 0)
  return {
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
