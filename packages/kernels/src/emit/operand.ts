// An operand of a template, or of any loop nest that asks for values along an axis: an expression and its environment.
import { expr, flatten, rewrite, type Expr } from "@thimble/core"
import { sparingSubnormals } from "./approx.ts"
import type { FunctionBuilder, Local } from "./assembler.ts"
import { decodedRuns, type Counts } from "./decoded.ts"
import { ExpressionStream, type Environment } from "./expression.ts"
import { loadsOf, strideOf } from "./map.ts"
import { rawElements } from "./raw.ts"
import type { Operand, Stream } from "../template/holes.ts"

/** `counts` are the kernel's; without them there are no runs. */
export function operand(body: Expr, shape: readonly number[], env: (f: FunctionBuilder) => Environment, counts?: Counts): Operand {
  const loads = loadsOf(body)
  // Where memory has no order that a coordinate shows, it may have one within quads (packed codes, say).
  const uneven = shape.map((_, axis) => loads.some((l) => [...expr.sumOf(l.src[0]!).terms.keys()].some((t) => t.op !== "index" && dependsOn(t, axis))))
  // What has few elements (a scale of each row) says little about the order of what has many.
  const score = shape.map((n, axis) => {
    if (n === 1) return 0
    const [own, along] = uneven[axis] ? [loadsOf(inQuads(body, axis, n)), placeAxis] : [loads, axis]
    return own.reduce((sum, l) => (strideOf(l, along) === 1 ? sum + elementsOf(l) : sum), 0)
  })
  const best = Math.max(...score, 0)
  return {
    ...(uneven.some(Boolean) && { quad: (f: FunctionBuilder, axis: number, coords: readonly Local[], quad: Local) => pushQuad(f, env(f), inQuads(body, axis, shape[axis]!), coords, quad) }),
    contiguous: best > 0 ? score.lastIndexOf(best) : undefined,
    along(f, axis, coords, position, aligned = false) {
      const stream = new ExpressionStream(f, env(f), axis, coords, position, [body])
      const own = aligned && uneven[axis] ? quadsInRuns(f, env(f), inQuads(body, axis, shape[axis]!), coords, shape[axis]!) : undefined
      const value: Stream["value"] = (lanes, offset = 0) => {
        if (own === undefined || lanes === 1) return stream.value(body, lanes, offset)
        const quad = f.local("i32")
        f.address(position, offset, 1)
        f.i32(2)
        f.op("i32.shr_u")
        f.set(quad)
        own(quad)
      }
      return {
        value,
        vectors: (count) => own === undefined ? stream.vectors(body, count) : Array.from({ length: count }, (_, i) => {
          const local = f.local("v128")
          value(4, 4 * i); f.set(local)
          return local
        }),
      }
    },
    runs: (axis, rowAxis) => counts && decodedRuns(body, [axis, shape[axis]!], rowAxis, counts, env),
    raw: (axis) => rawElements(body, axis, env),
    constantAlong: (axis) => flatten([body]).every((e) => e.op !== "index" || e.value !== axis),
  }
}

/** How many a load reads over all coordinates, at most. */
const elementsOf = (load: Expr): number => [...new Map(flatten([load]).filter((e) => e.op === "index").map((e) => [e.value, e.high + 1])).values()].reduce((a, b) => a * b, 1)

/** Coordinates that stand for the quad and the place in it; no kernel has that many axes. */
export const quadAxis = 30, placeAxis = 31
export const dependsOn = (e: Expr, axis: number): boolean => flatten([e]).some((x) => x.op === "index" && x.value === axis)

/** An expression along an axis, in terms of quads and the places in them. */
function inQuads(body: Expr, axis: number, length: number): Expr {
  const at = expr.add(expr.mul(expr.index(quadAxis, Math.ceil(length / 4)), expr.int(4)), expr.index(placeAxis, 4))
  return sparingSubnormals(rewrite([body], (e) => (e.op === "index" && e.value === axis ? at : undefined)), (e) => !dependsOn(e, placeAxis))[0]!
}

/** Quads that are likely to share something: few blocks or groups of stored weights are smaller. */
const quadsPerRun = 8
/** Coordinates of a run of quads, and of the quad in it. */
const runAxis = 28, partAxis = 29

/** Reads quad after quad along an axis; what those of a run share (the scale of a group) is computed when a run begins. */
function quadsInRuns(f: FunctionBuilder, env: Environment, body: Expr, coords: readonly Local[], length: number): (quad: Local) => void {
  const quads = Math.ceil(length / 4), at = expr.add(expr.mul(expr.index(runAxis, Math.ceil(quads / quadsPerRun)), expr.int(quadsPerRun)), expr.index(partAxis, quadsPerRun))
  const split = rewrite([body], (e) => (e.op === "index" && e.value === quadAxis ? at : undefined))[0]!
  const shared = new Set<Expr>(), seen = new Set<Expr>()
  const find = (e: Expr): void => {
    if (seen.has(e)) return
    seen.add(e)
    if (e.type === "f32" && dependsOn(e, runAxis) && !dependsOn(e, partAxis) && !dependsOn(e, placeAxis)) shared.add(e)
    else e.src.forEach(find)
  }
  find(split)
  if (shared.size === 0 || quads % quadsPerRun !== 0) return (quad) => pushQuad(f, env, body, coords, quad)
  const values = [...shared], first = env.scalars.length, held = values.map(() => f.local("f32"))
  const rest = rewrite([split], (e) => (shared.has(e) ? expr.scalar("f32", first + values.indexOf(e)) : undefined))[0]!
  const [current, number, part, none] = Array.from({ length: 4 }, () => f.local("i32")) as [Local, Local, Local, Local]
  const all = [...coords]
  all[runAxis] = number
  all[partAxis] = part
  f.i32(-1); f.set(current)
  f.i32(0); f.set(none)
  return (quad) => {
    f.get(quad); f.i32(Math.log2(quadsPerRun)); f.op("i32.shr_u"); f.tee(number)
    f.get(current); f.op("i32.ne")
    f.if(() => {
      f.get(number); f.set(current)
      const stream = new ExpressionStream(f, env, placeAxis, all, none, values)
      values.forEach((e, i) => { stream.value(e, 1); f.set(held[i]!) })
    })
    f.get(quad); f.i32(quadsPerRun - 1); f.op("i32.and"); f.set(part)
    new ExpressionStream(f, { ...env, scalars: [...env.scalars, ...held] }, placeAxis, all, none, [rest]).value(rest, 4)
  }
}

/** What the places of a quad share is computed once, as scalars; the rest on vectors, read at once where it is adjacent. */
function pushQuad(f: FunctionBuilder, env: Environment, body: Expr, coords: readonly Local[], quad: Local): void {
  const all = [...coords], none = f.local("i32")
  all[quadAxis] = quad
  f.i32(0)
  f.set(none)
  new ExpressionStream(f, env, placeAxis, all, none, [body]).value(body, 4)
}
