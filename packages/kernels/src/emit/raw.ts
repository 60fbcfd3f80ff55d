// Elements as they lie in memory, for templates that put them into place before they are decoded.
import { bytesOf, expr, flatten, rewrite, type Expr } from "@thimble/core"
import type { FunctionBuilder, Local } from "./assembler.ts"
import { isFixed, takesApart } from "./decoded.ts"
import { ExpressionStream, type Environment } from "./expression.ts"
import { loadsOf, strideOf } from "./map.ts"
import { dependsOn } from "./operand.ts"
import { replaced } from "./replaced.ts"

/** An operand whose elements along one axis lie side by side, each made of one of so many bits. */
export interface RawElements {
  readonly bits: 4 | 8 | 16 | 32
  /** Whether they are signed, if they are integers; of four bits they are, once `offset` is added to them. */
  readonly signed: boolean
  readonly offset: number
  /** Whether elements are little else than their bits, but for a scale. */
  readonly plain: boolean
  /** Emits what all elements share. */
  along(f: FunctionBuilder, coords: readonly Local[]): {
    /** The address of the first element. */
    readonly base: Local
    /** Pushes four elements, of lanes that hold the bits they are made of, as integers of 32 bits. */
    value(lanes: Local): void
    /** What each is to be multiplied with (f32), if anything is. */
    readonly scale: Local | undefined
  }
}

export function rawElements(body: Expr, axis: number, env: (f: FunctionBuilder) => Environment): RawElements | undefined {
  const found = wholeBytes(body, axis) ?? halfBytes(body, axis)
  if (found === undefined || dependsOn(found.rest, axis) || takesApart(found.rest)) return undefined
  const { bits, signed, offset, load, rest } = found, [a, b] = rest.src as [Expr, Expr]
  const [decoded, scale] = rest.op !== "mul" ? [rest] : isFixed(b) ? [a, b] : isFixed(a) ? [b, a] : [rest]
  const first = rewrite([load.src[0]!], (e) => (e.op === "index" && e.value === axis ? expr.int(0) : undefined))[0]!
  return {
    bits, signed, offset, plain: flatten([decoded!]).length <= 4,
    along(f, coords) {
      const own = env(f), none = f.local("i32"), base = f.local("i32"), factor = scale && f.local("f32")
      f.assign(none, 0)
      const stream = new ExpressionStream(f, own, axis, coords, none, scale === undefined ? [decoded, first] : [decoded, scale, first])
      f.get(own.parameters[load.value]!); stream.value(first, 1); f.scale(bits === 4 ? 1 : bits / 8); f.op("i32.add"); f.set(base)
      if (factor !== undefined) { stream.value(scale!, 1); f.set(factor) }
      return {
        base,
        scale: factor,
        value(lanes) {
          stream.accumulate(lanes)
          stream.value(decoded, 4)
        },
      }
    },
  }
}

type Found = Pick<RawElements, "bits" | "signed" | "offset"> & { readonly load: Expr; readonly rest: Expr }

function wholeBytes(body: Expr, axis: number): Found | undefined {
  const loads = loadsOf(body).filter((l) => dependsOn(l, axis)), load = loads[0]
  if (load === undefined || loads.length > 1 || strideOf(load, axis) !== 1 || load.type === "bool" || load.type === "f64") return undefined
  const [rest] = replaced([body], (e) => (e === load ? expr.acc(load.type) : undefined))
  return { bits: (8 * bytesOf(load.dtype!)) as 8 | 16 | 32, signed: load.dtype === "i8" || load.dtype === "i16", offset: 0, load, rest: rest! }
}

/** Two elements to a byte, the first in its lower half. */
function halfBytes(body: Expr, axis: number): Found | undefined {
  const small = new Set<Expr>(), look = (e: Expr): void => {
    if (!dependsOn(e, axis)) return
    if (e.type === "i32" && e.low >= -128 && e.high <= 127) small.add(e)
    else e.src.forEach(look)
  }
  look(body)
  const [code] = small, index = flatten([body]).find((e) => e.op === "index" && e.value === axis)
  if (code === undefined || small.size > 1 || index === undefined) return undefined
  const pair = expr.index(axis, Math.ceil((index.high + 1) / 2)), at = (half: 0 | 1): Expr =>
    rewrite([code], (e) => (e.op === "index" && e.value === axis ? expr.add(expr.mul(pair, expr.int(2)), expr.int(half)) : undefined))[0]!
  const [low, high] = [at(0), at(1)], load = loadsOf(low)[0]
  if (load?.dtype !== "u8" || strideOf(load, axis) !== 1) return undefined
  const byte = expr.cast(load, "i32"), offsets = [expr.sub(low, expr.and(byte, expr.int(15))), expr.sub(high, expr.and(expr.shr(byte, expr.int(4)), expr.int(15)))]
  const [offset] = offsets as [Expr]
  if (offset.op !== "const" || offsets[1] !== offset) return undefined
  const [rest] = replaced([body], (e) => (e === code ? expr.acc("i32") : undefined))
  return { bits: 4, signed: true, offset: offset.value, load, rest: rest! }
}
