// What neighbours along rows share (the scales of a stored weight), eight groups at a time: where in such a run each group
// is is known when code is made, so that much of a format's arithmetic falls away. An f16 of which a run needs one only is
// widened beforehand.
import { expr, rewrite, type Expr } from "@thimble/core"
import { sparingSubnormals } from "./approx.ts"
import type { FunctionBuilder, Local } from "./assembler.ts"
import { ExpressionStream, type Environment } from "./expression.ts"
import { Copies } from "./halves.ts"
import { dependsOn, placeAxis, quadAxis } from "./operand.ts"

/** Values [rows, groups] of some operands, by name. */
export interface Runs {
  /** How much `prepare` writes for so many rows. */
  bytes(rows: number): number
  /** Widens what rows [from, end) need, from address `to` on. */
  prepare(f: FunctionBuilder, from: Local, end: Local, to: Local): void
  /** The values of a run, four to a vector, in locals; of rows that are prepared. */
  along(f: FunctionBuilder, row: Local, run: Local): ReadonlyMap<string, Local[]>
}
/** The row, in the expressions. */
const rowAxis = 0

export function runsOf(bodies: ReadonlyMap<string, Expr>, groups: number, size: number, parameters: number, env: (f: FunctionBuilder) => Environment): Runs {
  const run = expr.mul(expr.index(quadAxis, Math.ceil(groups / size)), expr.int(size)), copies = new Copies(rowAxis, parameters, env)
  const quads = new Map([...bodies].map(([name, body]) => [name, Array.from({ length: size / 4 }, (_, q) => {
    const at = expr.add(run, expr.add(expr.index(placeAxis, 4), expr.int(4 * q)))
    const copied = copies.read(rewrite([body], (e) => (e.op === "index" && e.value === 1 ? at : undefined)), (e) => !dependsOn(e, placeAxis))
    return sparingSubnormals(copied, (e) => !dependsOn(e, placeAxis))[0]!
  })]))
  return {
    bytes: (rows) => copies.bytes(rows),
    prepare: (f, from, end, to) => copies.prepare(f, from, end, to),
    along(f, row, number) {
      const none = f.local("i32"), coords: Local[] = []
      coords[rowAxis] = row
      coords[quadAxis] = number
      f.assign(none, 0)
      const all = [...quads.values()].flat()
      const vectors = new ExpressionStream(f, copies.environment(f), placeAxis, coords, none, all).each(all)
      return new Map([...quads.keys()].map((name, i) => [name, vectors.slice((i * size) / 4, ((i + 1) * size) / 4)]))
    },
  }
}
