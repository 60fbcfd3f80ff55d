// What neighbours along rows share (the scales of a stored weight), eight groups at a time: where in such a run each group
// is is known when code is made, so that much of a format's arithmetic falls away. An f16 of which a run needs one only is
// widened beforehand, with those of other runs and rows: a vector of them takes as long as one.
import { expr, flatten, rewrite, type Expr } from "@thimble/core"
import { f16ToF32, sparingSubnormals } from "./approx.ts"
import type { FunctionBuilder, Local } from "./assembler.ts"
import { ExpressionStream, type Environment } from "./expression.ts"
import { dependsOn, placeAxis, quadAxis } from "./operand.ts"
import { i32s } from "../template/loops.ts"

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

/** A parameter's f16, `perRow` of each row, rows side by side. */
interface Halves { readonly parameter: number; readonly perRow: number; readonly copy: number }

export function runsOf(bodies: ReadonlyMap<string, Expr>, groups: number, size: number, parameters: number, env: (f: FunctionBuilder) => Environment): Runs {
  const run = expr.mul(expr.index(quadAxis, Math.ceil(groups / size)), expr.int(size))
  const copies: Halves[] = []
  const copyOf = (load: Expr): Halves | undefined => {
    const { terms } = expr.sumOf(load.src[0]!), [row, perRow] = [...terms].find(([t]) => t.op === "index" && t.value === rowAxis) ?? [expr.int(0), 0]
    const inRow = expr.sub(load.src[0]!, expr.mul(row, expr.int(perRow)))
    if (perRow < 1 || inRow.low < 0 || inRow.high >= perRow || dependsOn(inRow, rowAxis)) return undefined
    const known = copies.find((c) => c.parameter === load.value)
    if (known !== undefined) return known.perRow === perRow ? known : undefined
    const made = { parameter: load.value, perRow, copy: parameters + copies.length }
    copies.push(made)
    return made
  }
  const quads = new Map([...bodies].map(([name, body]) => [name, Array.from({ length: size / 4 }, (_, q) => {
    const at = expr.add(run, expr.add(expr.index(placeAxis, 4), expr.int(4 * q)))
    const inRun = rewrite([body], (e) => (e.op === "index" && e.value === 1 ? at : undefined))
    const copied = rewrite(inRun, (e) => {
      const half = dependsOn(e, placeAxis) ? undefined : halfIn(e), copy = half && copyOf(half)
      return copy && expr.load(copy.copy, "f32", half!.src[0]!)
    })
    return sparingSubnormals(copied, (e) => !dependsOn(e, placeAxis))[0]!
  })]))
  const perRow = copies.reduce((n, c) => n + c.perRow, 0)
  const wide = sparingSubnormals([f16ToF32(expr.load(0, "i16", expr.index(0, 2 ** 24)))], () => true)[0]!
  /** Where the widened rows would begin, had all been: what elements are counted from. */
  const origins = new Map<FunctionBuilder, Local[]>()
  return {
    bytes: (rows) => 4 * rows * perRow,
    prepare(f, from, end, to) {
      const own = env(f), [address, position, count, vectors, out] = i32s(f, 5)
      const begin = i32s(f, copies.length)
      origins.set(f, begin)
      f.assign(out, to)
      copies.forEach(({ parameter, perRow }, i) => {
        f.get(own.parameters[parameter]!); f.get(from); f.scale(2 * perRow); f.op("i32.add"); f.set(address)
        f.get(out); f.get(from); f.scale(4 * perRow); f.op("i32.sub"); f.set(begin[i]!)
        f.get(end); f.get(from); f.op("i32.sub"); f.scale(perRow); f.set(count)
        f.address(count, -3, 1); f.set(vectors)
        const stream = new ExpressionStream(f, { ...own, parameters: [address], scalars: [] }, 0, [position], position, [wide])
        f.forRange(position, 0, vectors, 4, () => {
          f.get(out); stream.value(wide, 4); f.store("v128.store", 0, 0)
          f.increment(out, 16)
        })
        f.forRange(position, position, count, 1, () => {
          f.get(out); stream.value(wide, 1); f.store("f32.store")
          f.increment(out, 4)
        })
      })
    },
    along(f, row, number) {
      const own = env(f), none = f.local("i32"), coords: Local[] = []
      coords[rowAxis] = row
      coords[quadAxis] = number
      f.assign(none, 0)
      const all = [...quads.values()].flat()
      const vectors = new ExpressionStream(f, { ...own, parameters: [...own.parameters, ...origins.get(f)!] }, placeAxis, coords, none, all).each(all)
      return new Map([...quads.keys()].map((name, i) => [name, vectors.slice((i * size) / 4, ((i + 1) * size) / 4)]))
    },
  }
}

/** The load of the f16 that an expression, spelled out, is the value of. */
function halfIn(e: Expr): Expr | undefined {
  if (e.op !== "bitcast" || e.type !== "f32" || e.src[0]!.op !== "or") return undefined
  const loads = flatten([e]).filter((x) => x.op === "load" || x.op === "scalar" || x.op === "acc")
  return loads.length === 1 && loads[0]!.dtype === "i16" ? loads[0] : undefined
}
