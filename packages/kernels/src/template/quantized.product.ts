// One row of W with one of the rounded activations: eight pieces at a time, whose integer sums meet four to a vector, so that
// one multiply-add does their scales. Two such vectors side by side are made of codes that lie side by side, and are one of
// 256 bits where the revectorizer finds nothing in its way: what a sum is multiplied with comes from private scratch, where a
// pass over the row's scales put it in this order.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { ByteOperand, Halves } from "../emit/bytes16.ts"
import type { Holes } from "../emit/kernel.ts"
import type { Phase, Stream } from "./holes.ts"
import { ceilDiv, i32s, minimum, roundUp, v128s } from "./loops.ts"
import { block, run, type Pieces, type Rounded } from "./quantized.ts"
import { transpose4 } from "./pack.ts"
import { multiplyAdd } from "./tile.ts"

/** A value per group of W's row: one by one or four in a row; perhaps four that are computed together, and those of a run. */
interface PerGroup extends Pick<Stream, "value"> {
  readonly quad?: ((quad: Local) => void) | undefined
  readonly inRun?: (() => Local[]) | undefined
}

type Four = readonly [number, number, number, number]
/** Two vectors side by side: whose sums are in each, by pieces of the run; of halves, only that of the vector's number. */
interface Twins { readonly lanes: readonly [Four, Four]; readonly halved: boolean }
function twinsOf({ perBlock, pairs }: Pieces): readonly Twins[] {
  if (perBlock === 1 && pairs === "halves") return ([[0, 1, 2, 3], [4, 5, 6, 7]] as const).map((four) => ({ lanes: [four, four], halved: true }))
  const alternate = [[0, 2, 4, 6], [1, 3, 5, 7]] as const, inTwos = [[0, 1, 4, 5], [2, 3, 6, 7]] as const
  return [{ lanes: perBlock === 2 && pairs === "blocks" ? inTwos : alternate, halved: false }]
}

/** Rows of W per unit of work. */
const unitRows = 16
/** The partial sums of four rows. */
const slotBytes = 64

export function productPhase({ dims, operands, bytes, result, threadScratch, constants, features: { relaxed, unsignedDot } }: Holes, pieces: Pieces, rounded: Rounded): { phase: Phase; threadScratchBytes: number } {
  const { m, n, group } = dims as { m: number; n: number; group: number }
  const { perBlock, count: all, runBlocks, blocks, wholeBlocks } = pieces
  const whole = wholeBlocks * perBlock, perGroup = (group / block) * perBlock
  // What is left of the runs: half of one, if it is as much, then single blocks.
  const singles = all - whole >= run / 2 ? whole + run / 2 : whole
  const twins = twinsOf(pieces)
  const code = bytes("code")
  // A code of −128 has no absolute value in seven bits.
  const relaxedDot = relaxed && (unsignedDot === true || code.low >= -127)
  const oneZero = operands.zero?.constantAlong(0) && operands.zero.constantAlong(1)
  const rowFactors = roundUp(all * 4 * twins.length, 32)
  const phase: Phase = { units: ceilDiv(n, unitRows), emit(f, begin, end) {
    const [unit, row, rowEnd, i, b, xs, scales, sums, g, factors, at, partial, quad, number] = i32s(f, 14)
    const [factor, rest, last] = v128s(f, 3) as [Local, Local, Local]
    const totals = v128s(f, 2), finished = v128s(f, 4), one = f.local("f32"), [slot, slots, first, end4, allFactors] = i32s(f, 5)
    threadScratch(f); f.set(partial)
    f.address(partial, 32, 1); f.set(slots)
    f.address(slots, slotBytes, m); f.set(allFactors)

    /** What the sum of each piece of row `row` of W with row i of x is multiplied with; zeros and mins go to `rest`. Here b counts pieces. */
    const emitFactors = (): void => {
      const stream = (name: "scale" | "zero" | "min"): PerGroup | undefined =>
        operands[name] && { quad: operands[name].quad?.bind(undefined, f, 1, [row, g]), inRun: operands[name].run?.bind(undefined, f, 1, run, [row, g], number), value: operands[name].along(f, 1, [row, g], g).value }
      const [scale, zero, min] = [stream("scale")!, stream("zero"), stream("min")]
      /** The values of the run that is made, where they are made together. */
      const made = new Map<PerGroup, Local[]>()
      /** Pushes a per-group value for `count` pieces from b + from on, as a vector. */
      const perPiece = (s: PerGroup, integer: boolean, count: 1 | 4, from: number): void => {
        if (perGroup === 1 && count === 4) {
          // Runs and their halves are whole quads.
          const own = made.get(s)
          if (own) f.get(own[from / 4]!)
          else if (s.quad) { f.get(b); f.i32(2); f.op("i32.shr_u"); f.i32(from / 4); f.op("i32.add"); f.set(quad); s.quad(quad) }
          else s.value(4, from)
          if (integer) f.op("f32x4.convert_i32x4_s")
          return
        }
        const one = (lane: number): void => {
          if (perGroup !== 1) { f.address(b, from + lane, 1); f.i32(perGroup); f.op("i32.div_u"); f.set(g) }
          s.value(1, perGroup === 1 ? from + lane : 0)
          if (integer) f.op("f32.convert_i32_s")
        }
        one(0)
        f.op("f32x4.splat")
        if (perGroup % 4 !== 0 && count > 1)
          for (let lane = 1; lane < count; lane++) { one(lane); f.lane("f32x4.replace_lane", lane) }
      }
      const activations = (area: Local, count: 1 | 4, from: number): void => {
        f.address(area, b, 4)
        f.load(count === 4 ? "v128.load" : "v128.load32_zero", 4 * from, 0)
      }
      const make = (count: 1 | 4, from: number): Local => {
        const made = f.local("v128")
        perPiece(scale, false, count, from)
        f.set(factor)
        // (min − zero · scale) · activation scale · Σ q; a zero that is the same everywhere waits for the row's end.
        const add = (push: () => void): void => {
          const sum = f.local("v128")
          activations(sums, count, from); f.set(sum)
          multiplyAdd(f, relaxed, push, () => f.get(sum), rest)
        }
        if (oneZero && !min) add(() => f.get(factor))
        else if (zero || min) add(() => {
          if (min) perPiece(min, false, count, from)
          if (!zero) return
          perPiece(zero, true, count, from)
          f.get(factor); f.op("f32x4.mul", min ? "f32x4.sub" : "f32x4.neg")
        })
        f.get(factor); activations(scales, count, from); f.op("f32x4.mul"); f.set(made)
        return made
      }
      f.f32x4(0); f.set(rest)
      f.assign(at, factors)
      f.forRange(b, 0, whole, run, () => {
        if (perGroup === 1) {
          f.assign(g, b)
          f.get(b); f.i32(3); f.op("i32.shr_u"); f.set(number)
          for (const s of [scale, zero, min]) if (s?.inRun) made.set(s, s.inRun())
        }
        const [first, second] = [make(4, 0), make(4, 4)]
        made.clear()
        twins.forEach(({ lanes }, q) => lanes.forEach((own, lane) => {
          f.get(at); f.get(first); f.get(second); f.shuffle32(...own); f.store("v128.store", 32 * q + 16 * lane)
        }))
        f.increment(at, 32 * twins.length)
      })
      if (whole < singles) {
        f.assign(b, whole)
        if (perGroup === 1) f.assign(g, b)
        const four = make(4, 0)
        f.get(at); f.get(four); f.store("v128.store")
        f.increment(at, 2 * run)
      }
      if (singles < all) f.forRange(b, singles, all, 1, () => {
        if (perGroup === 1) f.assign(g, b)
        const one = make(1, 0)
        f.get(at); f.get(one); f.laneMemory("v128.store32_lane", 0, 0)
        f.increment(at, 4)
      })
      f.get(slot); f.get(rest); f.store("v128.store")
    }

    // Multiplied with ones and added in pairs is one instruction; V8 would build these ones anew for each pairwise addition.
    const ones = constants.load(f, 0x00010001)
    const dot = (codes: readonly Halves[], part: Part, place: Place): Local => dotOf(f, { x, place, ones, code, relaxed: relaxedDot }, codes, part)
    const x = f.local("i32")

    const emitProducts = (): void => {
      const inRun = code.runs(1, runBlocks).along(f, [row, b], b)
      for (const t of [...totals, last]) { f.f32x4(0); f.set(t) }
      f.assign(at, factors)
      f.assign(x, xs)
      const place = pieces.pairs === "halves" ? (i: number, half: number) => 32 * i + 16 * half : (i: number, half: number) => 32 * (i - (i % 2) + half) + 16 * (i % 2)
      f.forRange(b, 0, wholeBlocks / runBlocks, 1, () => {
        const codes = inRun.read()
        twins.forEach(({ lanes, halved }, q) => {
          const joined = lanes.map((four, lane) => {
            const scaled = f.local("v128")
            joinFour(f, four.map((piece) => dot(codes, halved ? { block: piece, halves: [lane as 0 | 1] } : halvesOf(pieces, piece), place)))
            f.op("f32x4.convert_i32x4_s"); f.set(scaled)
            return scaled
          })
          const scales = v128s(f, 2)
          scales.forEach((s, lane) => { f.get(at); f.load("v128.load", 32 * q + 16 * lane); f.set(s) })
          totals.forEach((t, lane) => multiplyAdd(f, relaxed, () => f.get(joined[lane]!), () => f.get(scales[lane]!), t))
        })
        f.increment(x, block * runBlocks)
        f.increment(at, 32 * twins.length)
      })
      const plain = (i: number, half: number): number => block * i + 16 * half
      if (whole < singles) {
        const joined = f.local("v128")
        f.assign(b, (2 * wholeBlocks) / runBlocks)
        const codes = code.runs(1, runBlocks / 2).along(f, [row, b], b).read()
        joinFour(f, [0, 1, 2, 3].map((piece) => dot(codes, halvesOf(pieces, piece), plain)))
        f.op("f32x4.convert_i32x4_s"); f.set(joined)
        f.get(at); f.load("v128.load"); f.set(factor)
        multiplyAdd(f, relaxed, () => f.get(joined), () => f.get(factor), last)
        f.increment(x, (block * runBlocks) / 2)
        f.increment(at, 2 * run)
      }
      if (singles < all) {
        const inBlock = code.runs(1, 1).along(f, [row, b], b)
        f.forRange(b, singles / perBlock, blocks, 1, () => {
          const codes = inBlock.read()
          for (let piece = 0; piece < perBlock; piece++) {
            const product = dot(codes, halvesOf(pieces, piece), plain)
            f.get(product); f.op("f32x4.convert_i32x4_s"); f.set(product)
            f.get(at); f.load("v128.load32_splat", 4 * piece); f.set(factor)
            multiplyAdd(f, relaxed, () => f.get(product), () => f.get(factor), last)
          }
          f.increment(x, block)
          f.increment(at, 4 * perBlock)
        })
      }
      // Neighbouring stores are where the revectorizer starts from.
      totals.forEach((t, lane) => { f.get(partial); f.get(t); f.store("v128.store", 16 * lane) })
      f.get(slot); f.load("v128.load")
      if (oneZero && !operands.min) {
        operands.zero!.along(f, 1, [row, b], b).value(1)
        f.op("f32.convert_i32_s", "f32.neg", "f32x4.splat", "f32x4.mul")
      }
      f.get(last); f.op("f32x4.add")
      for (const lane of [0, 1]) { f.get(partial); f.load("v128.load", 16 * lane); f.op("f32x4.add") }
      f.set(rest)
      f.get(slot); f.get(rest); f.store("v128.store")
    }
    /** Results of row i of x: as many as there are partial sums for, added lane by lane. */
    const emitFinish = (count: 1 | 4): void => {
      finished.slice(0, count).forEach((v, r) => { f.get(slot); f.load("v128.load", 16 * r); f.set(v) })
      if (count === 1) {
        for (let lane = 0; lane < 4; lane++) {
          f.get(finished[0]!); f.lane("f32x4.extract_lane", lane)
          if (lane > 0) f.op("f32.add")
        }
        f.set(one)
      } else {
        transpose4(f, finished)
        finished.forEach((v, lane) => { f.get(v); if (lane > 0) f.op("f32x4.add") })
        f.set(finished[0]!)
      }
      result.along(f, 1, [i, row], row).finish(count, count === 1 ? one : finished[0]!)
    }

    f.forRange(unit, begin, end, 1, () => {
      f.get(unit); f.scale(unitRows); f.set(row)
      minimum(f, rowEnd, () => f.address(row, unitRows, 1), n)
      // Four rows at a time, whose partial sums become one vector of results.
      f.forRange(first, row, rowEnd, 4, () => {
        f.address(first, 4, 1); f.set(end4)
        minimum(f, end4, end4, rowEnd)
        f.forRange(i, 0, m, 1, () => {
          rounded.codes(f, i); f.set(xs)
          rounded.scales(f, i); f.set(scales)
          rounded.sums(f, i); f.set(sums)
          // What is loaded two vectors at a time must have left the core for some time: no store of one vector can be passed on to it.
          for (const emit of [emitFactors, emitProducts]) {
            f.address(slots, i, slotBytes); f.set(slot)
            f.assign(factors, allFactors)
            f.forRange(row, first, end4, 1, () => {
              emit()
              f.increment(slot, 16)
              f.increment(factors, rowFactors)
            })
          }
        })
        const finish = (count: 1 | 4): void => f.forRange(i, 0, m, 1, () => {
          emitFinish(count)
          f.increment(slot, slotBytes)
        })
        f.assign(row, first)
        f.assign(slot, slots)
        if (n % 4 === 0) return finish(4)
        f.get(end4); f.get(first); f.op("i32.sub"); f.i32(4); f.op("i32.eq")
        f.if(() => finish(4), () => f.forRange(row, first, end4, 1, () => {
          finish(1)
          f.increment(slot, 16 - m * slotBytes)
        }))
      })
    })
  } }
  return { phase, threadScratchBytes: 32 + m * slotBytes + 4 * rowFactors }
}

/** Pushes the sums of the lanes of four vectors of integers, a lane for each. */
function joinFour(f: FunctionBuilder, [a, b, c, d]: readonly Local[]): void {
  const pairs = [[a!, b!], [c!, d!]].map(([p, q]) => {
    const joined = f.local("v128")
    f.get(p!); f.get(q!); f.shuffle32(0, 4, 1, 5)
    f.get(p!); f.get(q!); f.shuffle32(2, 6, 3, 7)
    f.op("i32x4.add"); f.set(joined)
    return joined
  })
  const [p, q] = pairs as [Local, Local]
  f.get(p); f.get(q); f.shuffle32(0, 1, 4, 5)
  f.get(p); f.get(q); f.shuffle32(2, 3, 6, 7)
  f.op("i32x4.add")
}

/** What a piece of a run is made of. */
interface Part { readonly block: number; readonly halves: readonly (0 | 1)[] }
const halvesOf = ({ perBlock }: Pieces, piece: number): Part =>
  perBlock === 1 ? { block: piece, halves: [0, 1] } : { block: piece >> 1, halves: [(piece & 1) as 0 | 1] }

/** How many bytes from `x` on the half of a block lies. */
type Place = (block: number, half: number) => number
/** What every product of a kernel has: where x is, a vector of ones (i16x8), bounds of the codes, whether they are relaxed. */
interface Factor { readonly x: Local; readonly place: Place; readonly ones: Local; readonly code: Pick<ByteOperand, "low" | "high">; readonly relaxed: boolean }

/** Σ x · code of a part, as four partial sums (i32x4). The codes of x are in ±127. */
function dotOf(f: FunctionBuilder, { x, place, ones, code: { low, high }, relaxed }: Factor, codes: readonly Halves[], { block, halves }: Part): Local {
  const product = f.local("v128")
  const factor = (half: 0 | 1): void => { f.get(x); f.load("v128.load", place(block, half)) }
  const inPairs = (): void => { f.get(ones); f.op("i32x4.dot_i16x8_s") }
  if (relaxed && low >= 0 && high * 127 * 2 * halves.length <= 32767) {
    // So many products fit in 16 bits: they are added there and widened once.
    halves.forEach((half, n) => {
      factor(half); f.get(codes[block]![half]); f.op("i16x8.relaxed_dot_i8x16_i7x16_s")
      if (n > 0) f.op("i16x8.add")
    })
    inPairs()
  } else halves.forEach((half, n) => {
    if (relaxed) {
      relaxedProduct(f, () => factor(half), codes[block]![half], low)
      inPairs()
    } else exactProduct(f, () => factor(half), codes[block]![half])
    if (n > 0) f.op("i32x4.add")
  })
  f.set(product)
  return product
}

function exactProduct(f: FunctionBuilder, x: () => void, code: Local): void {
  x(); f.get(code); f.op("i16x8.extmul_low_i8x16_s", "i32x4.extadd_pairwise_i16x8_s")
  x(); f.get(code); f.op("i16x8.extmul_high_i8x16_s", "i32x4.extadd_pairwise_i16x8_s", "i32x4.add")
}

/** Two products of 127 · 127 fit in 16 bits; more are added in 32. */
function relaxedProduct(f: FunctionBuilder, x: () => void, code: Local, low: number): void {
  x()
  if (low < 0) {
    // The second factor must fit in seven bits: its sign goes to x.
    const sign = f.local("v128")
    f.i32x4(0); f.get(code); f.op("i8x16.gt_s"); f.tee(sign)
    f.op("v128.xor"); f.get(sign); f.op("i8x16.sub")
    f.get(code); f.op("i8x16.abs")
  } else f.get(code)
  f.op("i16x8.relaxed_dot_i8x16_i7x16_s")
}
