// Few rows times a weight stored in integer codes: activations are rounded to int8 in groups of 32, or with a scale that
// their row is given, products are taken on integers and only the sum of each group meets its scales. W is read once, from its packed bytes.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { ByteRuns } from "../emit/bytes16.ts"
import type { Holes } from "../emit/kernel.ts"
import type { Phase, Template } from "./holes.ts"
import { i32s, roundUp, split } from "./loops.ts"
import { productPhase } from "./quantized.product.ts"

/** Neighbours that share an activation scale; as in core's definition of quantizedMatmul. */
export const block = 32
export function acceptsQuantized({ m, k, group, low, high }: Readonly<Record<string, number>>): boolean {
  return m! <= 8 && k! % block === 0 && (group! % block === 0 || group === block / 2) && low! >= -128 && high! <= 127
}
/** The same with scales of activations that are given by rows, without a zero point. */
export const acceptsGridded = (dims: Readonly<Record<string, number>>): boolean => dims.zeroPoint === 0 && acceptsQuantized(dims)

/** A piece is what shares a scale on both sides: a block, or half of one. A run is eight of them, multiplied together. */
export interface Pieces {
  readonly perBlock: 1 | 2
  readonly count: number
  readonly runBlocks: number
  /** Blocks, and those of them in whole runs. */
  readonly blocks: number
  readonly wholeBlocks: number
  /** Which codes lie side by side, in W and therefore in the activations. */
  readonly pairs: ByteRuns["pairs"]
}
export const run = 8
function piecesOf({ dims, bytes }: Holes): Pieces {
  const { k, group } = dims as { k: number; group: number }
  const perBlock = group < block ? 2 : 1, blocks = k / block, runBlocks = run / perBlock
  return { perBlock, count: blocks * perBlock, runBlocks, blocks, wholeBlocks: blocks - (blocks % runBlocks), pairs: bytes("code").runs(1, runBlocks).pairs }
}

/** Where the rounded activations lie, by rows; each pushes the address of a row's part. */
export interface Rounded {
  /**
   * int8 codes [m, k]. Where blocks are pairs, those of a pair have their first halves side by side in whole runs, then their
   * second ones: what a pair of W is multiplied with is one vector of 256 bits.
   */
  codes(f: FunctionBuilder, row: Local): void
  /** f32 [m, pieces]: scale, and scale · Σ codes. */
  scales(f: FunctionBuilder, row: Local): void
  sums(f: FunctionBuilder, row: Local): void
}

export function quantizedMatmul(holes: Holes): Template {
  const { m, k } = holes.dims as { m: number; k: number }
  const pieces = piecesOf(holes)
  const scaleAt = roundUp(m * k, 64), sumAt = scaleAt + roundUp(m * pieces.count * 4, 64)
  const part = (offset: number, stride: number) => (f: FunctionBuilder, row: Local): void => {
    holes.scratch(f); f.i32(offset); f.op("i32.add")
    f.get(row); f.scale(stride); f.op("i32.add")
  }
  const rounded: Rounded = { codes: part(0, k), scales: part(scaleAt, pieces.count * 4), sums: part(sumAt, pieces.count * 4) }
  const product = productPhase(holes, pieces, rounded)
  return { phases: [roundPhase(holes, pieces, rounded), product.phase], scratchBytes: sumAt + m * pieces.count * 4, threadScratchBytes: product.threadScratchBytes }
}

function roundPhase({ dims, operands }: Holes, { blocks, wholeBlocks, perBlock, pairs }: Pieces, to: Rounded): Phase {
  const m = dims.m!
  return { units: m * blocks, work: m * blocks * block * 8, emit(f, begin, end) {
    const [unit, row, b, position, at, apart] = i32s(f, 6)
    const [largest, inverse] = [f.local("v128"), f.local("v128")]
    const [scale, most, sum, none] = [f.local("f32"), f.local("f32"), f.local("v128"), f.local("i32")]
    const x = Array.from({ length: 8 }, () => f.local("v128"))
    f.forRange(unit!, begin, end, 1, () => {
      split(f, unit!, [[row!, m], [b!, blocks]])
      f.get(b!); f.scale(block); f.set(position!)
      const stream = operands.x!.along(f, 1, [row!, position!], position!)
      x.forEach((v, i) => {
        stream.value(4, 4 * i)
        f.tee(v)
        f.op("f32x4.abs")
        if (i > 0) { f.get(largest); f.op("f32x4.max") }
        f.set(largest)
      })
      for (const lanes of [[2, 3, 0, 1], [1, 0, 3, 2]] as const) {
        f.get(largest); f.get(largest); f.get(largest); f.shuffle32(lanes[0], lanes[1], lanes[2], lanes[3])
        f.op("f32x4.max"); f.set(largest)
      }
      if (operands.step === undefined) {
        f.get(largest); f.lane("f32x4.extract_lane", 0); f.f32(127); f.op("f32.div"); f.set(scale)
        // 127/amax, and 0 where amax is 0.
        f.f32x4(127); f.get(largest); f.op("f32x4.div")
        f.get(largest); f.f32x4(0); f.op("f32x4.ne", "v128.and"); f.set(inverse)
        for (const v of x) {
          f.get(v); f.get(inverse); f.op("f32x4.mul", "f32x4.nearest", "i32x4.trunc_sat_f32x4_s"); f.set(v)
        }
      } else {
        // A NaN has no code: the scale of its block is one instead.
        f.assign(none, 0)
        operands.step.along(f, 1, [row!], none).value(1); f.tee(scale); f.op("f32x4.splat"); f.set(inverse)
        f.get(scale); f.f32(NaN); f.get(largest); f.lane("f32x4.extract_lane", 0); f.tee(most); f.get(most); f.op("f32.eq", "select"); f.set(scale)
        for (const v of x) {
          f.get(v); f.get(inverse); f.op("f32x4.div", "f32x4.nearest"); f.f32x4(127); f.op("f32x4.pmin"); f.f32x4(-127); f.op("f32x4.pmax", "i32x4.trunc_sat_f32x4_s"); f.set(v)
        }
      }
      to.codes(f, row!); f.get(position!); f.op("i32.add"); f.set(at!)
      f.assign(apart!, 16)
      f.get(b!); f.i32(pairs === "blocks" ? wholeBlocks : 0); f.op("i32.lt_u")
      f.if(() => {
        // Half h of the block b of a pair lies at 32·(b − b mod 2 + h) + 16·(b mod 2).
        f.get(at!); f.get(b!); f.i32(1); f.op("i32.and"); f.scale(16); f.op("i32.sub"); f.set(at!)
        f.assign(apart!, 32)
      })
      for (const half of [0, 1]) {
        const [a, b2, c, d] = x.slice(4 * half) as [Local, Local, Local, Local]
        f.get(at!)
        if (half === 1) { f.get(apart!); f.op("i32.add") }
        f.get(a); f.get(b2); f.op("i16x8.narrow_i32x4_s")
        f.get(c); f.get(d); f.op("i16x8.narrow_i32x4_s", "i8x16.narrow_i16x8_s")
        f.store("v128.store", 0, 0)
      }
      for (let piece = 0; piece < perBlock; piece++) {
        const own = x.slice((piece * 8) / perBlock, ((piece + 1) * 8) / perBlock)
        f.get(own[0]!)
        for (const v of own.slice(1)) { f.get(v); f.op("i32x4.add") }
        f.set(sum)
        const at = (area: Rounded["scales"]): void => { area(f, row!); f.get(b!); f.scale(4 * perBlock); f.op("i32.add") }
        at(to.scales); f.get(scale); f.store("f32.store", 4 * piece)
        at(to.sums)
        for (let lane = 0; lane < 4; lane++) {
          f.get(sum); f.lane("i32x4.extract_lane", lane)
          if (lane > 0) f.op("i32.add")
        }
        f.op("f32.convert_i32_s"); f.get(scale); f.op("f32.mul"); f.store("f32.store", 4 * piece)
      }
    })
  } }
}
