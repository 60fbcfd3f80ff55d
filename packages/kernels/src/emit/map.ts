// Elementwise kernels: one pass over the output, four (twice four) elements at a time along the last axis.
import { bytesOf, expr, flatten, type DType, type Expr, type Shape } from "@thimble/core"
import type { FunctionBuilder, Local } from "./assembler.ts"
import { coalesce } from "./coalesce.ts"
import { ExpressionStream, storeScalar, storeVector, type Environment } from "./expression.ts"
import { forSteps, i32s, minimum, split } from "../template/loops.ts"
import type { Phase, Push } from "../template/holes.ts"
import { emitTiledMap } from "./tiled.ts"

/** Elements per unit of work: enough to pay for its start, few enough to share. */
const chunk = 4096

export const isVectorizable = (e: Expr): boolean => flatten([e]).every((x) => x.type !== "f64")

export interface MapPlan {
  readonly phase: Phase
  readonly threadScratchBytes: number
}

/** `into`: where values go, in elements, if not to their row-major position. */
export function emitMap(shape: Shape, dtype: DType, body: Expr, into: Expr | undefined, environment: (f: FunctionBuilder) => Environment, threadScratch: Push): MapPlan {
  const loops = coalesce(shape, shape.length, into === undefined ? [body] : [body, into])
  const sizes = loops.shape.length === 0 ? [1] : loops.shape
  const [value, place] = loops.bodies as [Expr, Expr?]
  const tiled = place === undefined ? emitTiledMap(sizes, dtype, value, environment, threadScratch) : undefined
  return tiled ?? { phase: emitRows(sizes, dtype, value, place, environment), threadScratchBytes: 0 }
}

function emitRows(sizes: readonly number[], dtype: DType, value: Expr, place: Expr | undefined, environment: (f: FunctionBuilder) => Environment): Phase {
  const axis = sizes.length - 1, length = sizes[axis]!
  const rows = sizes.slice(0, -1)
  const chunks = Math.ceil(length / chunk)
  const bytes = bytesOf(dtype)
  // Two vectors at a time, which the revectorizer joins; two pairs where there is little to do.
  const light = flatten([value]).length <= 16
  const apart = place !== undefined && strideIn(place, axis) !== 1
  const step = apart || !isVectorizable(value) || length < 4 ? 1 : length < 8 ? 4 : light && length >= 16 ? 16 : 8
  return {
    units: rows.reduce((a, b) => a * b, 1) * chunks,
    emit(f, begin, end) {
      const env = environment(f)
      const coords = i32s(f, sizes.length)
      const [unit, part, from, to, position, out, at, zero] = i32s(f, 8)
      f.assign(zero, 0)
      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, [...rows.map((n, i): [Local, number] => [coords[i]!, n]), [part, chunks]])
        f.get(part); f.scale(chunk); f.set(from)
        minimum(f, to, () => f.address(from, chunk, 1), length)
        const stream = new ExpressionStream(f, env, axis, coords, position, [value])
        const places = place && new ExpressionStream(f, env, axis, coords, apart ? position : zero, [place])
        /** From an element's number on the stack to its address. */
        const address = (): void => { f.scale(bytes); f.get(env.parameters[0]!); f.op("i32.add") }
        if (places === undefined) rowAddress(f, env.parameters[0]!, coords, sizes, bytes, out)
        else if (!apart) { places.value(place!, 1); address(); f.set(out) }
        forSteps(f, position, from, to, length, step, () => {
          if (apart) { places!.value(place!, 1); address() }
          else f.address(out, position, bytes)
          if (step === 1) {
            stream.value(value, 1)
            return storeScalar(f, dtype)
          }
          f.set(at)
          // All values, then all stores: the revectorizer starts at neighbouring stores that nothing stands between.
          stream.vectors(value, step / 4).forEach((local, i) => {
            f.get(at)
            f.get(local)
            storeVector(f, dtype, 4 * i * bytes)
          })
        })
      })
    },
  }
}

/** to = base + bytes · (row-major position of the coordinates but the last). */
export function rowAddress(f: FunctionBuilder, base: Local, coords: readonly Local[], sizes: readonly number[], bytes: number, to: Local): void {
  f.i32(0)
  for (let i = 0; i < sizes.length - 1; i++) {
    f.scale(sizes[i]!)
    f.get(coords[i]!)
    f.op("i32.add")
  }
  f.scale(sizes.at(-1)! * bytes)
  f.get(base)
  f.op("i32.add")
  f.set(to)
}

/** Elements between neighbours of a load along an axis: NaN when the index is not linear in it. */
export const strideOf = (load: Expr, axis: number): number => strideIn(load.src[0]!, axis)
function strideIn(at: Expr, axis: number): number {
  const sum = expr.sumOf(at)
  let stride = 0
  for (const [term, k] of sum.terms) {
    if (term.op === "index") stride = term.value === axis ? k : stride
    else if (flatten([term]).some((e) => e.op === "index" && e.value === axis)) return NaN
  }
  return stride
}
export const loadsOf = (e: Expr): Expr[] => flatten([e]).filter((x) => x.op === "load")
