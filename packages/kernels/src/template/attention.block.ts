// Attention in blocks of keys: the scores of a block, their exponentials against the largest score so far, and the values
// added up with them; what was added before is scaled when a larger score turns up (Milakov & Gimelshein, 2018,
// arXiv:1805.02867; Dao et al., 2022, arXiv:2205.14135). Blocks begin at fixed keys and come in order, so a row's bits
// depend neither on the threads nor on the rows computed beside it.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Holes } from "../emit/kernel.ts"
import { exponential, join, largest, startAt, sumOfExponentials, total } from "./fold.ts"
import type { Operand } from "./holes.ts"
import { i32s, v128s } from "./loops.ts"

export interface AttentionDims {
  readonly batch: number
  readonly heads: number
  readonly kvHeads: number
  readonly tq: number
  readonly tk: number
  readonly d: number
  readonly dv: number
  readonly causal: number
  readonly window: number
  readonly scale: number
  readonly qOffset: number
}

/** Which keys queries see: those from `low` to before `high`. Both grow with the query. */
export interface Sight {
  /** Emits low and high, within the keys there are, for a query. */
  of(query: Local, low: Local, high: Local): void
}

/** Reads the run-time bounds at this place. */
export function sight(f: FunctionBuilder, { causal, window, tk, qOffset }: AttentionDims, { operands }: Holes): Sight {
  const [keys, offset, none] = i32s(f, 3)
  const read = (operand: Operand | undefined, otherwise: number, to: Local): void => {
    if (operand === undefined) f.i32(otherwise)
    else operand.along(f, 0, [], none).value(1)
    f.set(to)
  }
  /** to = min(to, bound), or max(to, bound). */
  const hold = (to: Local, bound: Local | number, compare: "i32.lt_s" | "i32.gt_s"): void => {
    f.get(to); f.push(bound); f.get(to); f.push(bound); f.op(compare, "select"); f.set(to)
  }
  read(operands.length, tk, keys)
  hold(keys, tk, "i32.lt_s")
  hold(keys, 0, "i32.gt_s")
  read(operands.qOffset, qOffset, offset)
  return {
    of(query, low, high) {
      f.assign(high, keys)
      f.assign(low, 0)
      if (!causal) return
      f.get(query); f.get(offset); f.op("i32.add"); f.i32(1); f.op("i32.add"); f.set(high)
      if (window > 0) { f.address(high, -window, 1); f.set(low) }
      for (const bound of [low, high]) {
        hold(bound, keys, "i32.lt_s")
        hold(bound, 0, "i32.gt_s")
      }
    },
  }
}

/** Bytes of a row's state: its largest score and the sum of its exponentials, in all lanes. */
export const stateBytes = 32

/** A row's scores of one block of keys, in scratch. */
export interface BlockRow {
  readonly f: FunctionBuilder
  readonly holes: Holes
  readonly batch: Local
  readonly head: Local
  readonly query: Local
  /** First key of the block. */
  readonly key: Local
  /** Address of the scores; the exponentials take their place. */
  readonly scores: Local
  /** How many of them, rounded up to a multiple of 16: what lies beyond the row's sight may be anything. */
  readonly count: Local
  /** The keys the row sees. */
  readonly low: Local
  readonly high: Local
  readonly state: Local
  /** Address of 64 bytes. */
  readonly partial: Local
  /** Address of the row's sums of values, a multiple of 4 of them. */
  readonly sums: Local
  readonly columns: number
}

/** Makes the scores exponentials, and brings the row's state and sums up to the new largest score. */
export function softmaxStep(r: BlockRow): void {
  const { f, holes, scores, count, key, low, high, state, partial } = r
  const [position, at] = i32s(f, 2)
  if (holes.operands.mask) addMask(r, holes.operands.mask)

  const accumulators = startAt(f, largest.start, 4)
  const pass = (change: (x: Local, lane: number) => void, keep: boolean): void => f.forRange(position, 0, count, 16, () => {
    const x = v128s(f, 4)
    f.address(scores, position, 4)
    f.set(at)
    x.forEach((v, i) => { f.get(at); f.load("v128.load", 16 * i); f.set(v) })
    x.forEach((v, i) => change(v, 4 * i))
    if (keep) x.forEach((v, i) => { f.get(at); f.get(v); f.store("v128.store", 16 * i) })
    join(f, largest, accumulators, x)
  })
  f.get(low); f.get(key); f.op("i32.le_s")
  f.get(key); f.get(count); f.op("i32.add"); f.get(high); f.op("i32.le_s", "i32.and")
  f.if(() => pass(() => {}, false), () => {
    const [lowest, highest, index, hidden] = v128s(f, 4) as [Local, Local, Local, Local]
    f.get(low); f.op("i32x4.splat"); f.set(lowest)
    f.get(high); f.op("i32x4.splat"); f.set(highest)
    f.f32x4(-Infinity); f.set(hidden)
    pass((x, lane) => {
      f.get(key); f.get(position); f.op("i32.add", "i32x4.splat")
      f.i32x4(lane, lane + 1, lane + 2, lane + 3)
      f.op("i32x4.add"); f.set(index)
      f.get(x); f.get(hidden)
      f.get(index); f.get(lowest); f.op("i32x4.ge_s")
      f.get(index); f.get(highest); f.op("i32x4.lt_s", "v128.and", "v128.bitselect")
      f.set(x)
    }, true)
  })
  const [before, after, subtract, difference] = v128s(f, 4) as [Local, Local, Local, Local]
  f.get(state); f.load("v128.load"); f.set(before)
  f.get(before); f.get(total(f, largest, accumulators, partial)); f.op("f32x4.pmax"); f.set(after)
  // A row that has seen nothing yet: -∞ − -∞ would be NaN.
  f.f32x4(0); f.get(after); f.get(after); f.f32x4(-Infinity); f.op("f32x4.eq", "v128.bitselect"); f.set(subtract)
  const sum = sumOfExponentials(f, holes, { at: scores, count, position, partial, most: subtract, keep: true })
  f.get(state); f.get(after); f.store("v128.store")
  f.get(before); f.lane("f32x4.extract_lane", 0); f.get(after); f.lane("f32x4.extract_lane", 0); f.op("f32.ne")
  f.if(() => {
    f.get(before); f.get(subtract); f.op("f32x4.sub"); f.set(difference)
    const factor = exponential(f, holes, difference)
    f.get(state)
    f.get(state); f.load("v128.load", 16); f.get(factor); f.op("f32x4.mul")
    f.store("v128.store", 16)
    f.assign(at, r.sums)
    f.forRange(position, 0, r.columns, 4, () => {
      f.get(at)
      f.get(at); f.load("v128.load"); f.get(factor); f.op("f32x4.mul")
      f.store("v128.store")
      f.increment(at, 16)
    })
  })
  f.get(state)
  f.get(state); f.load("v128.load", 16); f.get(sum); f.op("f32x4.add")
  f.store("v128.store", 16)
}

/** scores += mask, where the row sees. */
function addMask({ f, batch, head, query, key, scores, count, low, high }: BlockRow, mask: Operand): void {
  const [position, end, vectorEnd, at] = i32s(f, 4)
  const stream = mask.along(f, 3, [batch, head, query, position], position)
  const bound = (to: Local, a: Local, b: () => void, compare: "i32.lt_s" | "i32.gt_s"): void => {
    f.get(a); b(); f.get(a); b(); f.op(compare, "select"); f.set(to)
  }
  bound(position, low, () => f.get(key), "i32.gt_s")
  bound(end, high, () => { f.get(key); f.get(count); f.op("i32.add") }, "i32.lt_s")
  f.address(end, -3, 1); f.set(vectorEnd)
  const add = (lanes: 1 | 4): void => {
    f.get(scores); f.get(position); f.get(key); f.op("i32.sub"); f.scale(4); f.op("i32.add"); f.tee(at)
    f.get(at); f.load(lanes === 4 ? "v128.load" : "f32.load", 0, 2)
    stream.value(lanes)
    f.op(lanes === 4 ? "f32x4.add" : "f32.add")
    f.store(lanes === 4 ? "v128.store" : "f32.store", 0, 2)
  }
  f.forRange(position, position, vectorEnd, 4, () => add(4))
  f.forRange(position, position, end, 1, () => add(1))
}

/** Nothing seen yet. */
export function startState(f: FunctionBuilder, state: Local): void {
  f.get(state); f.f32x4(-Infinity); f.store("v128.store")
  f.get(state); f.f32x4(0); f.store("v128.store", 16)
}

/** Writes a row's results: its sums over the sum of exponentials; NaN where it saw no key. */
export function finishRow(f: FunctionBuilder, { result }: Holes, dv: number, coords: readonly [batch: Local, head: Local, query: Local], sums: Local, state: Local): void {
  const column = f.local("i32"), scalar = f.local("f32")
  const [inverse, x] = v128s(f, 2) as [Local, Local]
  const writer = result.along(f, 3, [...coords, column], column)
  f.f32x4(1); f.get(state); f.load("v128.load", 16); f.op("f32x4.div"); f.set(inverse)
  const scaled = (): void => { f.address(sums, column, 4); f.load("v128.load", 0, 2); f.get(inverse); f.op("f32x4.mul"); f.set(x) }
  f.forRange(column, 0, dv - (dv % 4), 4, () => { scaled(); writer.finish(4, x) })
  f.forRange(column, dv - (dv % 4), dv, 1, () => {
    scaled()
    f.get(x); f.lane("f32x4.extract_lane", 0); f.set(scalar)
    writer.finish(1, scalar)
  })
}

/** Copies a query to scratch, times the scale. */
export function copyQuery(f: FunctionBuilder, q: Operand, { d, scale }: AttentionDims, coords: readonly [batch: Local, head: Local, query: Local], to: Local): void {
  const column = f.local("i32")
  const stream = q.along(f, 3, [...coords, column], column)
  f.forRange(column, 0, d - (d % 4), 4, () => {
    f.address(to, column, 4)
    stream.value(4); f.f32x4(scale); f.op("f32x4.mul")
    f.store("v128.store", 0, 2)
  })
  f.forRange(column, d - (d % 4), d, 1, () => {
    f.address(to, column, 4)
    stream.value(1); f.f32(scale); f.op("f32.mul")
    f.store("f32.store")
  })
}
