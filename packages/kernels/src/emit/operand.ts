// An operand of a template, or of any loop nest that asks for values along an axis: an expression and its environment.
import { expr, flatten, rewrite, type Expr } from "@thimble/core"
import { sparingSubnormals } from "./approx.ts"
import type { FunctionBuilder, Local } from "./assembler.ts"
import { ExpressionStream, type Environment } from "./expression.ts"
import { loadsOf, strideOf } from "./map.ts"
import type { Operand } from "../template/holes.ts"

export function operand(body: Expr, shape: readonly number[], env: (f: FunctionBuilder) => Environment): Operand {
  const loads = loadsOf(body)
  const score = shape.map((n, axis) => (n === 1 ? -1 : loads.filter((l) => strideOf(l, axis) === 1).length))
  // Where memory has no order that a coordinate shows, it may have one within quads (packed codes, say).
  const uneven = shape.map((_, axis) => loads.some((l) => [...expr.sumOf(l.src[0]!).terms.keys()].some((t) => t.op !== "index" && dependsOn(t, axis))))
  if (Math.max(...score) <= 0) shape.forEach((n, axis) => { if (uneven[axis]) score[axis] = loadsOf(inQuads(body, axis, n)).filter((l) => strideOf(l, placeAxis) === 1).length })
  const best = Math.max(...score, 0)
  return {
    ...(uneven.some(Boolean) && {
      quad: (f: FunctionBuilder, axis: number, coords: readonly Local[], quad: Local) => pushQuad(f, env(f), inQuads(body, axis, shape[axis]!), coords, quad),
      run(f: FunctionBuilder, axis: number, size: number, coords: readonly Local[], run: Local) {
        const quads = Array.from({ length: size / 4 }, (_, q) => inQuads(body, axis, shape[axis]!, size, 4 * q))
        return quadStream(f, env(f), quads, coords, run).each(quads)
      },
    }),
    contiguous: best > 0 ? score.lastIndexOf(best) : undefined,
    along(f, axis, coords, position, aligned = false) {
      const stream = new ExpressionStream(f, env(f), axis, coords, position, [body])
      const own = aligned && uneven[axis] ? inQuads(body, axis, shape[axis]!) : undefined
      return {
        value(lanes, offset = 0) {
          if (own === undefined || lanes === 1) return stream.value(body, lanes, offset)
          const quad = f.local("i32")
          f.address(position, offset, 1)
          f.i32(2)
          f.op("i32.shr_u")
          f.set(quad)
          pushQuad(f, env(f), own, coords, quad)
        },
        vectors: (count) => stream.vectors(body, count),
      }
    },
    constantAlong: (axis) => flatten([body]).every((e) => e.op !== "index" || e.value !== axis),
  }
}

/** Coordinates that stand for the quad and the place in it; no kernel has that many axes. */
const quadAxis = 30, placeAxis = 31
const dependsOn = (e: Expr, axis: number): boolean => flatten([e]).some((x) => x.op === "index" && x.value === axis)

/** An expression along an axis, in terms of quads, or runs that begin `first` before a quad, and the places in it. */
function inQuads(body: Expr, axis: number, length: number, size = 4, first = 0): Expr {
  const at = expr.add(expr.mul(expr.index(quadAxis, Math.ceil(length / size)), expr.int(size)), expr.add(expr.index(placeAxis, 4), expr.int(first)))
  const quads = rewrite([body], (e) => (e.op === "index" && e.value === axis ? at : undefined))
  return sparingSubnormals(quads, (e) => !dependsOn(e, placeAxis))[0]!
}

/** What the places of a quad share is computed once, as scalars; the rest on vectors, read at once where it is adjacent. */
const pushQuad = (f: FunctionBuilder, env: Environment, body: Expr, coords: readonly Local[], quad: Local): void => quadStream(f, env, [body], coords, quad).value(body, 4)
function quadStream(f: FunctionBuilder, env: Environment, bodies: readonly Expr[], coords: readonly Local[], quad: Local): ExpressionStream {
  const all = [...coords], none = f.local("i32")
  all[quadAxis] = quad
  f.i32(0)
  f.set(none)
  return new ExpressionStream(f, env, placeAxis, all, none, bodies, { vectorOnly: true })
}
