// Stored weights in runs of 32 neighbours: what of an element is a small integer is computed in byte lanes, sixteen at a
// time, and widened; what the run shares (its scale) is computed once.
import { expr, flatten, rewrite, type Expr } from "@thimble/core"
import { sparingSubnormals } from "./approx.ts"
import type { FunctionBuilder, Local } from "./assembler.ts"
import { ByteStream } from "./bytes16.ts"
import { ExpressionStream, valueType, type Environment } from "./expression.ts"
import { Copies } from "./halves.ts"
import { isVectorizable, loadsOf } from "./map.ts"
import { replaced } from "./replaced.ts"
import { expressible, laneAxis, runAxis, varies } from "./lanes16.ts"

/** Neighbours of a run. */
export const runLength = 32

/** An operand along one axis, in runs, of rows along another one. */
export interface DecodedRuns {
  /** How much `prepare` writes for so many rows. */
  bytes(rows: number): number
  /** Gets rows [from, end) ready, from address `to` on. */
  prepare(f: FunctionBuilder, from: Local, end: Local, to: Local): void
  /** Emits what does not depend on the run, whose number is `run`; `read` emits the rest: the halves of the run. Of rows that are prepared. */
  along(f: FunctionBuilder, coords: readonly Local[], run: Local): { read(): Scaled[] }
}

/** Four vectors, to be multiplied with what is the same for all of them (one local for both halves, if it is the same there), if anything is. */
export interface Scaled { readonly vectors: readonly Local[]; readonly scale: Local | undefined }

/** How many parameters and scalars a kernel has. */
export interface Counts { readonly parameters: number; readonly scalars: number }

/** Undefined where elements are not made of one small integer each, beside what they share. */
export function decodedRuns(body: Expr, [axis, length]: readonly [number, number], rowAxis: number, { parameters, scalars }: Counts, env: (f: FunctionBuilder) => Environment): DecodedRuns | undefined {
  if (length % runLength !== 0) return undefined
  const first = expr.mul(expr.index(runAxis, length / runLength), expr.int(runLength))
  const halves = [0, 16].map((half) => {
    const at = expr.add(first, expr.add(expr.index(laneAxis, 16), expr.int(half)))
    return apart(rewrite([body], (e) => (e.op === "index" && e.value === axis ? at : undefined))[0]!)
  })
  const [low, high] = halves
  if (low === undefined || high === undefined) return undefined
  const copies = new Copies(rowAxis, parameters, env)
  const rests = sparingSubnormals(copies.read([low.rest, high.rest], isFixed), isFixed), shared = new Set<Expr>()
  const share = (e: Expr): void => {
    if (!isFixed(e)) e.src.forEach(share)
    else if (e.op !== "const") shared.add(e)
  }
  rests.forEach(share)
  const values = [...shared], bodies = replaced(rests, (e) => (shared.has(e) ? expr.scalar(e.type, scalars + values.indexOf(e)) : undefined))
  const scaled = bodies.map((body) => ({ body, scale: undefined, ...factored(body) })), roots = scaled.flatMap(({ body, scale }) => (scale === undefined ? [body] : [body, scale]))
  return {
    bytes: (rows) => copies.bytes(rows),
    prepare: (f, from, end, to) => copies.prepare(f, from, end, to),
    along(f, coords, run) {
      const own = env(f), held = values.map((e) => f.local(valueType(e.type))), none = f.local("i32")
      const codes = new ByteStream(f, own, [[low.code, high.code]], coords, run), ofRun = new ExpressionStream(f, copies.environment(f), runAxis, coords, run, values)
      f.assign(none, 0)
      return {
        read() {
          values.forEach((e, i) => { ofRun.value(e, 1); f.set(held[i]!) })
          const stream = new ExpressionStream(f, { ...own, scalars: [...own.scalars, ...held] }, laneAxis, coords, none, roots), scales = new Map<Expr, Local>()
          const valueOf = (e: Expr): Local => {
            const value = f.local("v128")
            stream.value(e, 4); f.set(value)
            return value
          }
          return codes.read()[0]!.map((bytes, half) => {
            const { body, scale } = scaled[half]!
            if (scale !== undefined && !scales.has(scale)) scales.set(scale, valueOf(scale))
            return { scale: scale && scales.get(scale), vectors: widened(f, bytes, [low, high][half]!.code.low < 0).map((integers) => {
              stream.accumulate(integers)
              return valueOf(body)
            }) }
          })
        },
      }
    },
  }
}

/** The one small integer of an expression that differs from lane to lane, and the expression with `acc` in its place. */
function apart(body: Expr): { readonly code: Expr; readonly rest: Expr } | undefined {
  const found = new Set<Expr>(), seen = new Set<Expr>()
  const look = (e: Expr): void => {
    if (seen.has(e) || !varies(e)) return
    seen.add(e)
    if ((e.type === "i32" || e.type === "u32") && expressible(e) && !(e.low < 0 && e.high > 127)) found.add(e)
    else e.src.forEach(look)
  }
  look(body)
  const [code] = found
  if (code === undefined || found.size > 1) return undefined
  const rest = rewrite([body], (e) => (e === code ? expr.acc(code.type) : e.op === "cast" && e.type === "f32" ? differenceOf(e.src[0]!, code) : undefined))[0]!
  // A larger table is looked up element by element, and f64 computed so.
  return varies(rest) || takesApart(rest) ? undefined : { code, rest }
}
/** Whether an expression is the same whatever `acc` is. */
export const isFixed = (e: Expr): boolean => flatten([e]).every((x) => x.op !== "acc")
/** Whether `acc`, a vector, is needed one by one: for what is loaded where it says, and for f64. */
export const takesApart = (e: Expr): boolean => !isVectorizable(e) || !loadsOf(e).every(isFixed)

/** A code less a small integer, which floats hold as well: V8's revectorizer mistakes the order of what is added. */
function differenceOf(sum: Expr, code: Expr): Expr | undefined {
  const acc = expr.acc(code.type)
  if (sum.type !== "i32" || code.type !== "i32" || sum.op !== "add" || !sum.src.includes(acc)) return undefined
  const less = expr.sub(expr.int(0), sum.src.find((s) => s !== acc)!)
  return less.low < -(2 ** 23) || less.high > 2 ** 23 ? undefined : expr.sub(expr.cast(acc, "f32"), expr.cast(less, "f32"))
}

/** A product with what lanes share, taken apart. */
function factored(e: Expr): { readonly body: Expr; readonly scale: Expr } | undefined {
  if (e.op !== "mul" || e.type !== "f32") return undefined
  const [a, b] = e.src as [Expr, Expr]
  return b.op === "scalar" ? { body: a, scale: b } : a.op === "scalar" ? { body: b, scale: a } : undefined
}

/** Sixteen bytes as integers of 32 bits, four to a vector. */
function widened(f: FunctionBuilder, bytes: Local, signed: boolean): Local[] {
  const s = signed ? "s" : "u"
  return (["low", "high"] as const).flatMap((half) => {
    const pair = f.local("v128")
    f.get(bytes); f.op(`i16x8.extend_${half}_i8x16_${s}`); f.set(pair)
    return (["low", "high"] as const).map((part) => {
      const integers = f.local("v128")
      f.get(pair); f.op(`i32x4.extend_${part}_i16x8_${s}`); f.set(integers)
      return integers
    })
  })
}
