// f16 that few elements share (scales of stored weights), widened beforehand with those of other rows: a vector of them takes
// as long as one.
import { expr, flatten, rewrite, type Expr } from "@thimble/core"
import { f16ToF32, sparingSubnormals } from "./approx.ts"
import type { FunctionBuilder, Local } from "./assembler.ts"
import { ExpressionStream, type Environment } from "./expression.ts"
import { dependsOn } from "./operand.ts"
import { i32s } from "../template/loops.ts"

/** A parameter's f16, `perRow` of each row, rows side by side. */
interface Halves { readonly parameter: number; readonly perRow: number; readonly copy: number }

/** Copies of f16 that lie by rows, along one axis of some expressions. */
export class Copies {
  private readonly copies: Halves[] = []
  private readonly axis: number
  private readonly parameters: number
  private readonly env: (f: FunctionBuilder) => Environment
  /** Where the widened rows would begin, had all been: what elements are counted from. */
  private readonly origins = new Map<FunctionBuilder, Local[]>()

  /** `parameters`: how many the kernel has; copies are numbered behind them. */
  constructor(axis: number, parameters: number, env: (f: FunctionBuilder) => Environment) {
    this.axis = axis
    this.parameters = parameters
    this.env = env
  }

  /** Expressions that read copies wherever an f16 is widened that `shared` says is the same for many elements. */
  read(bodies: readonly Expr[], shared: (e: Expr) => boolean): Expr[] {
    return rewrite(bodies, (e) => {
      const half = shared(e) ? halfIn(e) : undefined, copy = half && this.copyOf(half)
      return copy && expr.load(copy.copy, "f32", half!.src[0]!)
    })
  }

  private copyOf(load: Expr): Halves | undefined {
    const { terms } = expr.sumOf(load.src[0]!), [row, perRow] = [...terms].find(([t]) => t.op === "index" && t.value === this.axis) ?? [expr.int(0), 0]
    const inRow = expr.sub(load.src[0]!, expr.mul(row, expr.int(perRow)))
    if (perRow < 1 || inRow.low < 0 || inRow.high >= perRow || dependsOn(inRow, this.axis)) return undefined
    const known = this.copies.find((c) => c.parameter === load.value)
    if (known !== undefined) return known.perRow === perRow ? known : undefined
    const made = { parameter: load.value, perRow, copy: this.parameters + this.copies.length }
    this.copies.push(made)
    return made
  }

  /** How much `prepare` writes for so many rows. */
  bytes(rows: number): number {
    return this.copies.reduce((n, c) => n + 4 * rows * c.perRow, 0)
  }

  /** Widens what rows [from, end) need, from address `to` on. */
  prepare(f: FunctionBuilder, from: Local, end: Local, to: Local): void {
    const own = this.env(f), [address, position, count, vectors, out] = i32s(f, 5) as [Local, Local, Local, Local, Local]
    const wide = sparingSubnormals([f16ToF32(expr.load(0, "i16", expr.index(0, 2 ** 24)))], () => true)[0]!
    const begin = i32s(f, this.copies.length)
    this.origins.set(f, begin)
    f.assign(out, to)
    this.copies.forEach(({ parameter, perRow }, i) => {
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
  }

  /** What the expressions refer to, once `prepare` has been emitted. */
  environment(f: FunctionBuilder): Environment {
    const own = this.env(f)
    return this.copies.length === 0 ? own : { ...own, parameters: [...own.parameters, ...this.origins.get(f)!] }
  }
}

/** The load of the f16 that an expression, spelled out, is the value of. */
function halfIn(e: Expr): Expr | undefined {
  if (e.op !== "bitcast" || e.type !== "f32" || e.src[0]!.op !== "or") return undefined
  const loads = flatten([e]).filter((x) => x.op === "load" || x.op === "scalar" || x.op === "acc")
  return loads.length === 1 && loads[0]!.dtype === "i16" ? loads[0] : undefined
}
