// Reductions whose results lie side by side as their operands do: lanes run along the results.
import { bytesOf } from "@thimble/core"
import type { FunctionBuilder, Local } from "./assembler.ts"
import { ExpressionStream, storeScalar, storeVector, type Lanes } from "./expression.ts"
import { identity, join, valueType, vectorJoin } from "./join.ts"
import { loadsOf, rowAddress } from "./map.ts"
import type { Reduction, ReducePlan } from "./reduce.ts"
import { ceilDiv, i32s, minimum, split } from "../template/loops.ts"

const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1)

/** Many rows to join: runs long enough for prefetching. Few: the results stay in registers. */
export function columnPhases(plan: ReducePlan): Reduction {
  return product(plan.over) >= 16 && plan.outer.at(-1)! >= 64 ? throughMemory(plan) : inRegisters(plan)
}

/** Columns in registers. */
const columnBlock = 32

/** Lanes along the last output axis: a block of columns at a time, the reduced axes outside. */
function inRegisters(plan: ReducePlan): Reduction {
  const { outer, over, kernel, type, body, epilogue } = plan
  const axis = outer.length - 1, length = outer[axis]!
  const rows = outer.slice(0, -1)
  const blocks = Math.ceil(length / columnBlock)
  const bytes = bytesOf(kernel.dtype)
  return { scratchBytes: 0, phases: [{
    units: product(rows) * blocks,
    emit(f, begin, end) {
      const env = plan.environment(f)
      const coords = i32s(f, outer.length + over.length)
      const position = coords[axis]!
      const [unit, block, to, vectorEnd, out] = i32s(f, 5)
      const pass = (vectors: number): void => {
        const lanes = vectors === 0 ? 1 : 4
        const sums = Array.from({ length: Math.max(1, vectors) }, () => f.local(lanes === 4 ? "v128" : valueType(type)))
        for (const s of sums) {
          identity(f, kernel.combine, type, lanes)
          f.set(s)
        }
        const nest = (depth: number): void => {
          if (depth < over.length) return f.forRange(coords[outer.length + depth]!, 0, over[depth]!, 1, () => nest(depth + 1))
          const stream = new ExpressionStream(f, env, axis, coords, position, [body])
          sums.forEach((s, i) => {
            if (lanes === 4) {
              f.get(s)
              stream.value(body, 4, 4 * i)
              f.op(...vectorJoin[type as "f32"][kernel.combine])
              f.set(s)
            } else {
              const value = f.local(valueType(type))
              stream.value(body, 1)
              f.set(value)
              join(f, kernel.combine, type, s, value)
            }
          })
        }
        nest(0)
        const stream = new ExpressionStream(f, env, axis, coords, position, [epilogue], { accumulator: sums[0] })
        sums.forEach((s, i) => {
          stream.accumulate(s)
          f.address(out, position, bytes)
          stream.value(epilogue, lanes, lanes * i)
          if (lanes === 4) storeVector(f, kernel.dtype, 4 * i * bytes)
          else storeScalar(f, kernel.dtype, 0)
        })
      }
      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, [...rows.map((n, i): [Local, number] => [coords[i]!, n]), [block, blocks]])
        f.i32(0)
        rows.forEach((n, i) => { f.scale(n); f.get(coords[i]!); f.op("i32.add") })
        f.scale(length * bytes); f.get(env.parameters[0]!); f.op("i32.add"); f.set(out)
        f.get(block); f.scale(columnBlock); f.set(position)
        minimum(f, to, () => f.address(position, columnBlock, 1), length)
        for (const count of [columnBlock / 4, 1]) {
          if (length < 4 * count) continue
          f.get(to); f.i32(4 * count - 1); f.op("i32.sub"); f.set(vectorEnd)
          f.forRange(position, position, vectorEnd, 4 * count, () => pass(count))
        }
        if (length % 4 !== 0) f.forRange(position, position, to, 1, () => pass(0))
      })
    },
  }] }
}

/** Columns of a unit that passes through memory: 4 KiB runs. */
const runColumns = 1024
/** Units to aim at, and least rows in each. */
const unitsWanted = 16
const slabRows = 64
/** Columns per unit of the second phase. */
const finishColumns = 256

/**
 * Sums in scratch, a few rows added per pass over them; a slab of the first reduced axis per unit. A second phase joins the
 * slabs in order.
 */
function throughMemory(plan: ReducePlan): Reduction {
  const { outer, over, kernel, type, body, epilogue, scratch } = plan
  const axis = outer.length - 1, length = outer[axis]!
  const rows = outer.slice(0, -1), rowCount = product(rows)
  const blocks = ceilDiv(length, runColumns)
  const slabsWanted = Math.max(1, Math.min(ceilDiv(unitsWanted, rowCount * blocks), Math.floor(product(over) / slabRows), over[0]!))
  const slab = ceilDiv(over[0]!, slabsWanted), slabs = ceilDiv(over[0]!, slab)
  const together = loadsOf(body).length > 1 ? 4 : 8
  const bytes = bytesOf(kernel.dtype)
  const scalarType = valueType(type) as "f32" | "i32"
  const slabBytes = rowCount * length * 4
  /** to = address of the sums of a slab, at the coordinates but the last. */
  const sumsOf = (f: FunctionBuilder, slab: Local, coords: readonly Local[], to: Local): void => {
    scratch(f); f.get(slab); f.scale(slabBytes); f.op("i32.add"); f.set(to)
    rowAddress(f, to, coords, outer, 4, to)
  }
  const load = (f: FunctionBuilder, lanes: Lanes, offset = 0): void => f.load(lanes === 4 ? "v128.load" : `${scalarType}.load`, offset, 2)
  const store = (f: FunctionBuilder, lanes: Lanes, offset = 0): void => f.store(lanes === 4 ? "v128.store" : `${scalarType}.store`, offset, 2)
  const joinInto = (f: FunctionBuilder, lanes: Lanes, total: Local, value: Local): void => {
    if (lanes === 1) return join(f, kernel.combine, type, total, value)
    f.get(total); f.get(value); f.op(...vectorJoin[type as "f32"][kernel.combine]); f.set(total)
  }

  const gather = { units: rowCount * blocks * slabs, emit(f: FunctionBuilder, begin: Local, end: Local): void {
    const env = plan.environment(f)
    const coords = i32s(f, outer.length + over.length)
    const position = coords[axis]!
    const [unit, part, block, from, to, stop, first, last, sums, at] = i32s(f, 10)
    /** Calls body for all columns of the block, some vectors, or one element, at a time. */
    const sweep = (body: (lanes: Lanes, vectors: number) => void): void => {
      f.assign(position, from)
      for (const vectors of [4, 1]) {
        f.address(to, 1 - 4 * vectors, 1); f.set(stop)
        f.forRange(position, position, stop, 4 * vectors, () => { f.address(sums, position, 4); f.set(at); body(4, vectors) })
      }
      if (length % 4 !== 0) f.forRange(position, position, to, 1, () => { f.address(sums, position, 4); f.set(at); body(1, 1) })
    }
    const inner = coords.at(-1)!
    /** Joins `count` rows, from `inner` on, to the sums. */
    const add = (count: number): void => {
      const streams = Array.from({ length: count }, (_, i) => {
        const own = f.local("i32")
        f.address(inner, i, 1); f.set(own)
        return new ExpressionStream(f, env, axis, coords.with(-1, own), position, [body])
      })
      sweep((lanes, vectors) => {
        const totals = Array.from({ length: vectors }, (_, v) => {
          const total = f.local(lanes === 4 ? "v128" : scalarType)
          f.get(at); load(f, lanes, 16 * v); f.set(total)
          return total
        })
        for (const s of streams) {
          if (lanes === 4) s.vectors(body, vectors).forEach((value, v) => joinInto(f, 4, totals[v]!, value))
          else {
            const value = f.local(scalarType)
            s.value(body, 1); f.set(value)
            joinInto(f, 1, totals[0]!, value)
          }
        }
        totals.forEach((total, v) => { f.get(at); f.get(total); store(f, lanes, 16 * v) })
      })
    }
    const nest = (depth: number): void => {
      const [low, high] = depth === 0 ? [first, last] : [0, over[depth]!]
      const coordinate = coords[outer.length + depth]!
      if (depth < over.length - 1) return f.forRange(coordinate, low, high, 1, () => nest(depth + 1))
      const whole = f.local("i32")
      f.push(high); f.i32(together - 1); f.op("i32.sub"); f.set(whole)
      f.forRange(coordinate, low, whole, together, () => add(together))
      f.forRange(coordinate, coordinate, high, 1, () => add(1))
    }
    f.forRange(unit, begin, end, 1, () => {
      split(f, unit, [...rows.map((n, i): [Local, number] => [coords[i]!, n]), [block, blocks], [part, slabs]])
      f.get(block); f.scale(runColumns); f.set(from)
      minimum(f, to, () => f.address(from, runColumns, 1), length)
      f.get(part); f.scale(slab); f.set(first)
      minimum(f, last, () => f.address(first, slab, 1), over[0]!)
      sumsOf(f, part, coords, sums)
      sweep((lanes, vectors) => {
        for (let v = 0; v < vectors; v++) { f.get(at); identity(f, kernel.combine, type, lanes); store(f, lanes, 16 * v) }
      })
      nest(0)
    })
  } }

  const finish = { units: rowCount * ceilDiv(length, finishColumns), emit(f: FunctionBuilder, begin: Local, end: Local): void {
    const env = plan.environment(f)
    const coords = i32s(f, outer.length)
    const position = coords[axis]!
    const [unit, block, from, to, stop, part, none, sums, at, out] = i32s(f, 10)
    f.forRange(unit, begin, end, 1, () => {
      split(f, unit, [...rows.map((n, i): [Local, number] => [coords[i]!, n]), [block, ceilDiv(length, finishColumns)]])
      f.get(block); f.scale(finishColumns); f.set(from)
      minimum(f, to, () => f.address(from, finishColumns, 1), length)
      f.assign(none, 0)
      sumsOf(f, none, coords, sums)
      rowAddress(f, env.parameters[0]!, coords, outer, bytes, out)
      const pass = (lanes: Lanes): void => {
        const total = f.local(lanes === 4 ? "v128" : scalarType), value = f.local(lanes === 4 ? "v128" : scalarType)
        const stream = new ExpressionStream(f, env, axis, coords, position, [epilogue], { accumulator: total })
        f.forRange(position, position, lanes === 4 ? stop : to, lanes, () => {
          f.address(sums, position, 4); f.set(at)
          f.get(at); load(f, lanes); f.set(total)
          f.forRange(part, 1, slabs, 1, () => {
            f.increment(at, slabBytes)
            f.get(at); load(f, lanes); f.set(value)
            joinInto(f, lanes, total, value)
          })
          f.address(out, position, bytes)
          stream.value(epilogue, lanes)
          if (lanes === 4) storeVector(f, kernel.dtype)
          else storeScalar(f, kernel.dtype)
        })
      }
      f.assign(position, from)
      f.address(to, -3, 1); f.set(stop)
      pass(4)
      if (length % 4 !== 0) pass(1)
    })
  } }
  return { phases: [gather, finish], scratchBytes: slabs * slabBytes }
}
