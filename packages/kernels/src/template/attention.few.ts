// Attention for few queries (decoding): keys and values are read once, where they lie. Units take fixed chunks of the
// keys, so that one query's long cache is shared among threads; a second phase joins the chunks in their order.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Holes } from "../emit/kernel.ts"
import { copyQuery, finishRow, sight, softmaxStep, startState, stateBytes, type AttentionDims, type Sight } from "./attention.block.ts"
import { exponential } from "./fold.ts"
import type { Phase, Stream, Template } from "./holes.ts"
import { ceilDiv, i32s, minimum, roundUp, split, v128s } from "./loops.ts"
import { transpose4 } from "./pack.ts"
import { multiplyAdd } from "./tile.ts"

/** Keys per unit. */
const chunkKeys = 256
/** Keys per step. */
const group = 4

interface Plan {
  /** Rows that share keys: all queries of all heads of one key head. */
  readonly rows: number
  readonly chunks: number
  readonly queryStride: number
  readonly scoreStride: number
  readonly sumStride: number
  /** Bytes of what a unit hands to the second phase: states, then sums. */
  readonly chunkBytes: number
}

export function fewRows(dims: AttentionDims, holes: Holes): Template {
  const { batch, heads, kvHeads, tq, tk, d, dv } = dims
  const rows = (heads / kvHeads) * tq
  const sumStride = roundUp(dv, 8) * 4
  const plan: Plan = {
    rows, sumStride,
    chunks: ceilDiv(tk, chunkKeys),
    queryStride: roundUp(d, 8) * 4,
    scoreStride: roundUp(Math.min(tk, chunkKeys), 16) * 4,
    chunkBytes: roundUp(rows * (stateBytes + sumStride), 64),
  }
  const single = plan.chunks === 1
  return {
    phases: single ? [chunkPhase(dims, holes, plan)] : [chunkPhase(dims, holes, plan), joinPhase(dims, holes, plan)],
    scratchBytes: single ? 0 : batch * kvHeads * plan.chunks * plan.chunkBytes,
    threadScratchBytes: 64 + roundUp(rows * group * 32, 64) + plan.chunkBytes + roundUp(rows * (plan.queryStride + plan.scoreStride), 64),
  }
}

/** Calls body for every row that shares the keys of a key head, with its head and query. */
function eachRow(f: FunctionBuilder, { heads, kvHeads, tq }: AttentionDims, kvHead: Local, row: Local, head: Local, query: Local, body: () => void): void {
  f.forRange(row, 0, (heads / kvHeads) * tq, 1, () => {
    f.get(kvHead); f.scale(heads / kvHeads); f.get(row); f.i32(tq); f.op("i32.div_u", "i32.add"); f.set(head)
    f.get(row); f.i32(tq); f.op("i32.rem_u"); f.set(query)
    body()
  })
}

/** The keys that any query sees. */
function sightOfAll(f: FunctionBuilder, { tq }: AttentionDims, seen: Sight, low: Local, high: Local): void {
  const [query, none] = i32s(f, 2)
  f.assign(query, 0)
  seen.of(query, low, none)
  f.assign(query, tq - 1)
  seen.of(query, none, high)
}

function chunkPhase(dims: AttentionDims, holes: Holes, plan: Plan): Phase {
  const { batch: batches, kvHeads, dv } = dims
  const { rows, chunks, queryStride, scoreStride, sumStride } = plan
  const single = chunks === 1
  return {
    units: batches * kvHeads * chunks,
    emit(f, begin, end) {
      const [unit, batch, kvHead, chunk, row, head, query] = i32s(f, 7)
      const [partial, products, queries, scores, states, sums, own] = i32s(f, 7)
      const [low, high, from, to, key, rounded, state, at] = i32s(f, 8)
      const seen = sight(f, dims, holes)
      sightOfAll(f, dims, seen, low, high)
      holes.threadScratch(f); f.set(partial)
      f.address(partial, 64, 1); f.set(products)
      f.address(products, roundUp(rows * group * 32, 64), 1); f.set(own)
      f.address(own, plan.chunkBytes, 1); f.set(queries)
      f.address(queries, rows * queryStride, 1); f.set(scores)
      const u: Unit = { dims, holes, plan, batch, kvHead, queries, scores, sums, products, key, from, to }

      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, [[batch, batches], [kvHead, kvHeads], [chunk, chunks]])
        f.get(chunk); f.scale(chunkKeys); f.set(from)
        minimum(f, to, () => f.address(from, chunkKeys, 1), high)
        // The second phase leaves out the same chunks.
        if (!single) { f.get(from); f.get(to); f.op("i32.lt_s"); f.address(from, chunkKeys, 1); f.get(low); f.op("i32.gt_s", "i32.and") }
        const body = (): void => {
          if (single) f.assign(states, own)
          else { holes.scratch(f); f.get(unit); f.scale(plan.chunkBytes); f.op("i32.add"); f.set(states) }
          f.address(states, rows * stateBytes, 1); f.set(sums)
          f.get(sums); f.i32(0); f.i32(rows * sumStride); f.memoryFill()
          f.assign(at, queries)
          f.assign(state, states)
          eachRow(f, dims, kvHead, row, head, query, () => {
            startState(f, state)
            copyQuery(f, holes.operands.q!, dims, [batch, head, query], at)
            f.increment(at, queryStride)
            f.increment(state, stateBytes)
          })
          f.forRange(key, from, to, group, () => emitScores(f, u))
          f.get(to); f.get(from); f.op("i32.sub"); f.i32(15); f.op("i32.add"); f.i32(-16); f.op("i32.and"); f.set(rounded)
          const [score, sum, rowLow, rowHigh] = i32s(f, 4)
          f.assign(score, scores)
          f.assign(sum, sums)
          f.assign(state, states)
          eachRow(f, dims, kvHead, row, head, query, () => {
            seen.of(query, rowLow, rowHigh)
            softmaxStep({ f, holes, batch, head, query, key: from, scores: score, count: rounded, low: rowLow, high: rowHigh, state, partial, sums: sum, columns: sumStride / 4 })
            f.increment(score, scoreStride)
            f.increment(sum, sumStride)
            f.increment(state, stateBytes)
          })
          f.forRange(key, from, to, group, () => emitValues(f, u))
          if (!single) return
          f.assign(sum, sums)
          f.assign(state, states)
          eachRow(f, dims, kvHead, row, head, query, () => {
            finishRow(f, holes, dv, [batch, head, query], sum, state)
            f.increment(sum, sumStride)
            f.increment(state, stateBytes)
          })
        }
        if (single) body()
        else f.if(body)
      })
    },
  }
}

interface Unit {
  readonly dims: AttentionDims
  readonly holes: Holes
  readonly plan: Plan
  readonly batch: Local
  readonly kvHead: Local
  readonly queries: Local
  readonly scores: Local
  readonly sums: Local
  /** Address of scratch for a group of products: [row][key][8]. */
  readonly products: Local
  /** First key of the group. */
  readonly key: Local
  readonly from: Local
  readonly to: Local
}

/** Streams along the features of a group of keys. Behind the last key there is that key again: it gets no weight. */
function streams(f: FunctionBuilder, { dims, holes, batch, kvHead, key }: Unit, name: "k" | "v", feature: Local): Stream[] {
  return Array.from({ length: group }, (_, i) => {
    const own = f.local("i32")
    minimum(f, own, () => f.address(key, i, 1), dims.tk - 1)
    return holes.operands[name]!.along(f, 3, [batch, kvHead, own, feature], feature)
  })
}

/** Scores of all rows with a group of keys, as dot products of eight interleaved sums each. */
function emitScores(f: FunctionBuilder, u: Unit): void {
  const { dims: { d }, plan: { rows, queryStride, scoreStride }, holes: { features: { relaxed } }, products } = u
  const [feature, query, at] = i32s(f, 3)
  const keys = streams(f, u, "k", feature)
  const whole = d - (d % 8)
  const place = (r: number, k: number): number => (r * group + k) * 32
  for (let first = 0; first < rows;) {
    // Eight sums of 256 bits, or as many of 128, fit in registers.
    const height = Math.min(4, rows - first), width = height > 2 ? 2 : 4
    for (let left = 0; left < group; left += width) {
      const some = keys.slice(left, left + width)
      const sums = Array.from({ length: height }, () => some.map(() => v128s(f, 2)))
      for (const s of sums.flat(2)) { f.f32x4(0); f.set(s) }
      const step = (weights: Local[][], x: (r: number, half: number) => void): void =>
        sums.forEach((row, r) => row.forEach((pair, k) => weights[k]!.forEach((w, half) => multiplyAdd(f, relaxed, () => x(r, half), () => f.get(w), pair[half]!))))
      f.address(u.queries, first * queryStride, 1); f.set(query)
      f.assign(at, query)
      f.forRange(feature, 0, whole, 8, () => {
        const weights = some.map((s) => s.vectors(2))
        const x = sums.map((_, r) => v128s(f, 2).map((v, half) => { f.get(at); f.load("v128.load", r * queryStride + 16 * half); f.set(v); return v }))
        step(weights, (r, half) => f.get(x[r]![half]!))
        f.increment(at, 32)
      })
      // What is left goes to the first lane, one feature at a time.
      if (whole < d) f.forRange(feature, whole, d, 1, () => {
        const weights = some.map((s) => v128s(f, 1).map((v) => { s.value(1); f.op("f32x4.splat"); f.set(v); return v }))
        step(weights, (r) => { f.get(at); f.load("v128.load32_zero", r * queryStride) })
        f.increment(at, 4)
      })
      sums.forEach((row, r) => row.forEach((pair, k) => pair.forEach((s, half) => { f.get(products); f.get(s); f.store("v128.store", place(first + r, left + k) + 16 * half) })))
    }
    first += height
  }
  const quad = v128s(f, 4)
  const to = f.local("i32")
  f.get(u.scores); f.get(u.key); f.get(u.from); f.op("i32.sub"); f.scale(4); f.op("i32.add"); f.set(to)
  for (let r = 0; r < rows; r++) {
    quad.forEach((q, k) => {
      for (const half of [0, 16]) { f.get(products); f.load("v128.load", place(r, k) + half) }
      f.op("f32x4.add"); f.set(q)
    })
    transpose4(f, quad)
    f.get(to)
    f.get(quad[0]!); f.get(quad[1]!); f.op("f32x4.add")
    f.get(quad[2]!); f.get(quad[3]!); f.op("f32x4.add", "f32x4.add")
    f.store("v128.store", r * scoreStride, 2)
  }
}

/** Adds the values of a group of keys, times their exponentials, to the sums of all rows. */
function emitValues(f: FunctionBuilder, u: Unit): void {
  const { dims: { dv }, plan: { rows, scoreStride, sumStride }, holes: { features: { relaxed } } } = u
  const [feature, from, at] = i32s(f, 3)
  const values = streams(f, u, "v", feature)
  f.get(u.scores); f.get(u.key); f.get(u.from); f.op("i32.sub"); f.scale(4); f.op("i32.add"); f.set(from)
  // One row's weights stay in registers; those of more are loaded again each time.
  const weights = Array.from({ length: rows }, (_, r) => values.map((_, i) => {
    const load = (): void => { f.get(from); f.load("v128.load32_splat", r * scoreStride + 4 * i) }
    if (rows > 1) return load
    const weight = f.local("v128")
    load(); f.set(weight)
    return () => f.get(weight)
  }))
  const add = (count: number): void => {
    const vectors = values.map((s) => {
      if (count > 0) return s.vectors(count)
      const one = f.local("v128")
      s.value(1); f.op("f32x4.splat"); f.set(one)
      return [one]
    })
    f.address(u.sums, feature, 4); f.set(at)
    for (let r = 0; r < rows; r++) {
      const sums = v128s(f, Math.max(1, count))
      sums.forEach((s, v) => { f.get(at); f.load(count > 0 ? "v128.load" : "v128.load32_zero", r * sumStride + 16 * v, 2); f.set(s) })
      weights[r]!.forEach((weight, i) => sums.forEach((s, v) => multiplyAdd(f, relaxed, weight, () => f.get(vectors[i]![v]!), s)))
      sums.forEach((s, v) => {
        f.get(at); f.get(s)
        if (count > 0) f.store("v128.store", r * sumStride + 16 * v, 2)
        else f.laneMemory("v128.store32_lane", 0, r * sumStride)
      })
    }
  }
  f.forRange(feature, 0, dv - (dv % 8), 8, () => add(2))
  if (dv % 8 >= 4) f.forRange(feature, dv - (dv % 8), dv - (dv % 4), 4, () => add(1))
  if (dv % 4 > 0) f.forRange(feature, dv - (dv % 4), dv, 1, () => add(0))
}

/** Joins the chunks of every row. */
function joinPhase(dims: AttentionDims, holes: Holes, plan: Plan): Phase {
  const { batch: batches, kvHeads, heads, tq, dv } = dims
  const { rows, sumStride } = plan
  return {
    units: batches * kvHeads * rows,
    emit(f, begin, end) {
      const [unit, batch, kvHead, row, head, query, low, high, first, last, chunk] = i32s(f, 11)
      const [own, sums, area, column, at, to] = i32s(f, 6)
      const [most, subtract, all, difference] = v128s(f, 4) as [Local, Local, Local, Local]
      const seen = sight(f, dims, holes)
      sightOfAll(f, dims, seen, low, high)
      f.get(low); f.i32(chunkKeys); f.op("i32.div_u"); f.set(first)
      f.address(high, chunkKeys - 1, 1); f.i32(chunkKeys); f.op("i32.div_u"); f.set(last)
      holes.threadScratch(f); f.set(own)
      f.address(own, stateBytes, 1); f.set(sums)
      /** area = the state of the row in a chunk. */
      const find = (): void => {
        holes.scratch(f)
        f.get(batch); f.scale(kvHeads); f.get(kvHead); f.op("i32.add"); f.scale(plan.chunks); f.get(chunk); f.op("i32.add")
        f.scale(plan.chunkBytes); f.op("i32.add")
        f.get(row); f.scale(stateBytes); f.op("i32.add")
        f.set(area)
      }
      f.forRange(unit, begin, end, 1, () => {
        split(f, unit, [[batch, batches], [kvHead, kvHeads], [row, rows]])
        f.get(kvHead); f.scale(heads / kvHeads); f.get(row); f.i32(tq); f.op("i32.div_u", "i32.add"); f.set(head)
        f.get(row); f.i32(tq); f.op("i32.rem_u"); f.set(query)
        f.f32x4(-Infinity); f.set(most)
        f.forRange(chunk, first, last, 1, () => {
          find()
          f.get(most); f.get(area); f.load("v128.load"); f.op("f32x4.pmax"); f.set(most)
        })
        f.f32x4(0); f.get(most); f.get(most); f.f32x4(-Infinity); f.op("f32x4.eq", "v128.bitselect"); f.set(subtract)
        f.f32x4(0); f.set(all)
        f.get(sums); f.i32(0); f.i32(sumStride); f.memoryFill()
        f.forRange(chunk, first, last, 1, () => {
          find()
          f.get(area); f.load("v128.load"); f.get(subtract); f.op("f32x4.sub"); f.set(difference)
          const factor = exponential(f, holes, difference)
          f.get(all); f.get(area); f.load("v128.load", 16); f.get(factor); f.op("f32x4.mul", "f32x4.add"); f.set(all)
          // The sums lie behind the states of all rows.
          f.get(area); f.get(row); f.scale(sumStride - stateBytes); f.i32(rows * stateBytes); f.op("i32.add", "i32.add"); f.set(at)
          f.assign(to, sums)
          f.forRange(column, 0, dv, 4, () => {
            f.get(to)
            f.get(to); f.load("v128.load"); f.get(at); f.load("v128.load"); f.get(factor); f.op("f32x4.mul", "f32x4.add")
            f.store("v128.store")
            f.increment(at, 16)
            f.increment(to, 16)
          })
        })
        f.get(own); f.get(all); f.store("v128.store", 16)
        finishRow(f, holes, dv, [batch, head, query], sums, own)
      })
    },
  }
}
