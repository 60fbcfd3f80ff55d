// Reductions. Lanes run along the reduced axis when memory does (partial results are joined at the end), otherwise along
// the last output axis. The order of operations depends on sizes alone, so any number of threads gives the same bits.
import { bytesOf, type Expr, type ReduceKernel, type Scalar } from "@thimble/core"
import type { FunctionBuilder, Local } from "./assembler.ts"
import { coalesce } from "./coalesce.ts"
import { columnPhases } from "./columns.ts"
import { ExpressionStream, storeScalar, type Environment } from "./expression.ts"
import { identity, join, valueType, vectorJoin } from "./join.ts"
import { isVectorizable, loadsOf, strideOf } from "./map.ts"
import { i32s, minimum, split } from "../template/loops.ts"
import type { Phase, Push } from "../template/holes.ts"

/** Vectors of partial results side by side: hides the latency of addition. */
const accumulators = 4
/** A long reduction with few results is cut in this many parts. */
const parts = 32

/** Of private scratch they need as much as their vectors of partial results take. */
export interface Reduction { readonly phases: Phase[]; readonly scratchBytes: number }
export const partialBytes = 16 * accumulators

export function emitReduce(kernel: ReduceKernel, body: Expr, epilogue: Expr, environment: (f: FunctionBuilder) => Environment, { scratch, threadScratch }: { readonly scratch: Push; readonly threadScratch: Push }): Reduction {
  const rank = kernel.shape.length
  const loops = coalesce([...kernel.shape, ...kernel.over], rank, [body, epilogue])
  const plan: ReducePlan = {
    kernel, environment, scratch, threadScratch, type: body.type,
    body: loops.bodies[0]!, epilogue: loops.bodies[1]!,
    outer: loops.shape.slice(0, loops.outer), over: loops.shape.slice(loops.outer),
  }
  const { outer, over } = plan
  if (over.some((n) => n === 0)) return { phases: [emptyPhase(plan)], scratchBytes: 0 }
  const vector = isVectorizable(plan.body) && isVectorizable(plan.epilogue)
  const along = (axis: number): number => loadsOf(plan.body).filter((l) => strideOf(l, axis) === 1).length
  const lastOuter = outer.length - 1, lastOver = outer.length + over.length - 1
  const columns = vector && outer.length > 0 && outer.at(-1)! >= 4 && (over.length === 0 || along(lastOuter) > along(lastOver))
  if (columns) return columnPhases(plan)
  const results = outer.reduce((a, b) => a * b, 1)
  const total = over.reduce((a, b) => a * b, 1)
  if (results < 8 && total >= 2 ** 15 && over[0]! >= 2 * parts) return partedPhases(plan, vector, results)
  return { phases: [rowPhase(plan, vector)], scratchBytes: 0 }
}

export interface ReducePlan {
  readonly kernel: ReduceKernel
  readonly environment: (f: FunctionBuilder) => Environment
  readonly scratch: Push
  readonly threadScratch: Push
  readonly type: Scalar
  readonly body: Expr
  readonly epilogue: Expr
  readonly outer: readonly number[]
  readonly over: readonly number[]
}

/** One unit per result: all of the reduction, lanes along its last axis. */
function rowPhase(plan: ReducePlan, vector: boolean): Phase {
  const { outer, over, kernel } = plan
  return {
    units: outer.reduce((a, b) => a * b, 1),
    emit(f, begin, end) {
      const env = plan.environment(f)
      const coords = i32s(f, outer.length + over.length)
      const [unit, none] = i32s(f, 2)
      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, outer.map((n, i): [Local, number] => [coords[i]!, n]))
        const total = reduceRange(f, plan, env, coords, vector, over.map((n) => [0, n]))
        finishScalar(f, plan, env, coords, total, none, () => {
          f.get(env.parameters[0]!); f.get(unit); f.scale(bytesOf(kernel.dtype)); f.op("i32.add")
        })
      })
    },
  }
}

function finishScalar(f: FunctionBuilder, { epilogue, kernel }: ReducePlan, env: Environment, coords: readonly Local[], total: Local, none: Local, address: () => void): void {
  const stream = new ExpressionStream(f, env, -1, coords, none, [epilogue], { accumulator: total })
  address()
  stream.value(epilogue, 1)
  storeScalar(f, kernel.dtype)
}

/** Emits the loops over the reduced axes within `ranges`; returns the local that holds the result. */
function reduceRange(f: FunctionBuilder, { type, kernel, body, outer, over, threadScratch }: ReducePlan, env: Environment, coords: readonly Local[], vector: boolean, ranges: readonly (readonly [number | Local, number | Local])[]): Local {
  const total = f.local(valueType(type))
  identity(f, kernel.combine, type, 1)
  f.set(total)
  if (over.length === 0) {
    const none = f.local("i32")
    const stream = new ExpressionStream(f, env, -1, coords, none, [body])
    stream.value(body, 1)
    f.set(total)
    return total
  }
  const last = over.length - 1, axis = outer.length + last, length = over[last]!
  const position = coords[axis]!
  const vectors = vector && length >= 4 ? Array.from({ length: length >= 4 * accumulators ? accumulators : 1 }, () => f.local("v128")) : []
  for (const v of vectors) {
    identity(f, kernel.combine, type, 4)
    f.set(v)
  }
  const joinInto = (total: Local, value: Local): void => {
    f.get(total)
    f.get(value)
    f.op(...vectorJoin[type as "f32"][kernel.combine])
    f.set(total)
  }
  const vectorEnd = f.local("i32")
  const nest = (depth: number): void => {
    const [from, to] = ranges[depth]!
    if (depth < last) return f.forRange(coords[outer.length + depth]!, from, to, 1, () => nest(depth + 1))
    const stream = new ExpressionStream(f, env, axis, coords, position, [body])
    f.assign(position, from)
    for (const count of vectors.length > 1 ? [vectors.length, 1] : vectors.length === 1 ? [1] : []) {
      f.push(to); f.i32(4 * count - 1); f.op("i32.sub"); f.set(vectorEnd)
      f.forRange(position, position, vectorEnd, 4 * count, () => {
        stream.vectors(body, count).forEach((value, i) => joinInto(vectors[i]!, value))
      })
    }
    f.forRange(position, position, to, 1, () => {
      const value = f.local(valueType(type))
      stream.value(body, 1)
      f.set(value)
      join(f, kernel.combine, type, total, value)
    })
  }
  nest(0)
  if (vectors.length === 0) return total
  if (vectors.length > 1) {
    // Through memory: neighbouring stores are where the revectorizer starts from.
    const partial = f.local("i32")
    threadScratch(f); f.set(partial)
    vectors.forEach((v, i) => { f.get(partial); f.get(v); f.store("v128.store", 16 * i) })
    vectors.forEach((v, i) => { f.get(partial); f.load("v128.load", 16 * i); f.set(v) })
  }
  while (vectors.length > 1) {
    const right = vectors.pop()!
    joinInto(vectors.at(-1)!, right)
  }
  for (let lane = 0; lane < 4; lane++) {
    const value = f.local(valueType(type))
    f.get(vectors[0]!)
    f.lane(type === "f32" ? "f32x4.extract_lane" : "i32x4.extract_lane", lane)
    if (type === "bool") {
      f.i32(1)
      f.op("i32.and")
    }
    f.set(value)
    join(f, kernel.combine, type, total, value)
  }
  return total
}

/** Few results of much data: parts of the first reduced axis in parallel, then one join per result. */
function partedPhases(plan: ReducePlan, vector: boolean, results: number): Reduction {
  const { outer, over, type, kernel } = plan
  const partSize = Math.ceil(over[0]! / parts / 16) * 16
  const count = Math.ceil(over[0]! / partSize)
  const partial = valueType(type) === "f64" ? 8 : 4
  const store = valueType(type) === "f32" ? "f32.store" : valueType(type) === "f64" ? "f64.store" : "i32.store"
  const load = valueType(type) === "f32" ? "f32.load" : valueType(type) === "f64" ? "f64.load" : "i32.load"
  const address = (f: FunctionBuilder, unit: Local): void => {
    plan.scratch(f)
    f.get(unit)
    f.scale(partial)
    f.op("i32.add")
  }
  const first: Phase = {
    units: results * count,
    emit(f, begin, end) {
      const env = plan.environment(f)
      const coords = i32s(f, outer.length + over.length)
      const [unit, part, from, to] = i32s(f, 4)
      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, [...outer.map((n, i): [Local, number] => [coords[i]!, n]), [part, count]])
        f.get(part); f.scale(partSize); f.set(from)
        minimum(f, to, () => f.address(from, partSize, 1), over[0]!)
        const total = reduceRange(f, plan, env, coords, vector, over.map((n, i) => (i === 0 ? [from, to] : [0, n])))
        address(f, unit)
        f.get(total)
        f.store(store)
      })
    },
  }
  const second: Phase = {
    units: results,
    emit(f, begin, end) {
      const env = plan.environment(f)
      const coords = i32s(f, outer.length + over.length)
      const [unit, at, from, to, none] = i32s(f, 5)
      const total = f.local(valueType(type)), value = f.local(valueType(type))
      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, outer.map((n, i): [Local, number] => [coords[i]!, n]))
        identity(f, kernel.combine, type, 1)
        f.set(total)
        f.get(unit); f.scale(count); f.set(from)
        f.address(from, count, 1); f.set(to)
        f.forRange(at, from, to, 1, () => {
          address(f, at)
          f.load(load)
          f.set(value)
          join(f, kernel.combine, type, total, value)
        })
        finishScalar(f, plan, env, coords, total, none, () => {
          f.get(env.parameters[0]!); f.get(unit); f.scale(bytesOf(kernel.dtype)); f.op("i32.add")
        })
      })
    },
  }
  return { phases: [first, second], scratchBytes: results * count * partial }
}

/** Nothing to join: every result is the epilogue of the identity. */
function emptyPhase(plan: ReducePlan): Phase {
  const { outer, kernel, type } = plan
  return {
    units: outer.reduce((a, b) => a * b, 1),
    emit(f, begin, end) {
      const env = plan.environment(f)
      const coords = i32s(f, outer.length)
      const [unit, none] = i32s(f, 2)
      const total = f.local(valueType(type))
      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, outer.map((n, i): [Local, number] => [coords[i]!, n]))
        identity(f, kernel.combine, type, 1)
        f.set(total)
        finishScalar(f, plan, env, coords, total, none, () => {
          f.get(env.parameters[0]!); f.get(unit); f.scale(bytesOf(kernel.dtype)); f.op("i32.add")
        })
      })
    },
  }
}
