// Few rows times a weight stored in integer codes: activations are rounded to int8 in groups of 32, products are taken
// on integers and only the sum of each group meets its scales. W is read once, from its packed bytes.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Holes } from "../emit/kernel.ts"
import type { ByteOperand } from "../emit/bytes16.ts"
import type { Stream, Template } from "./holes.ts"
import { i32s, minimum, split } from "./loops.ts"

/** A value per group of W's row: one by one or four in a row; perhaps four that are computed together. */
interface PerGroup extends Pick<Stream, "value"> { readonly quad?: ((quad: Local) => void) | undefined }

/** Neighbours that share an activation scale; as in core's definition of quantizedMatmul. */
const block = 32
/** Rows of W per unit of work. */
const unitRows = 16

export function acceptsQuantized({ m, k, group, low, high }: Readonly<Record<string, number>>): boolean {
  return m! <= 8 && k! % block === 0 && (group! % block === 0 || group === block / 2) && low! >= -128 && high! <= 127
}

/**
 * Scratch: codes i8 [m, k], then per piece the scale f32 [m, k/piece] and scale · Σ codes f32 [m, k/piece]. A piece is
 * what shares a scale on both sides: a block, or half of one.
 */
export function quantizedMatmul({ dims, operands, bytes, result, scratch, features }: Holes): Template {
  const { m, n, k, group } = dims as { m: number; n: number; k: number; group: number }
  const piece = Math.min(group, block) as 16 | 32, halves = block / piece
  const blocks = k / block, pieces = k / piece
  const scaleAt = Math.ceil((m * k) / 64) * 64, sumAt = scaleAt + Math.ceil((m * pieces * 4) / 64) * 64
  const address = (f: FunctionBuilder, offset: number, row: Local, stride: number): void => {
    scratch(f)
    f.i32(offset)
    f.op("i32.add")
    f.get(row); f.scale(stride)
    f.op("i32.add")
  }
  const code = bytes("code")
  const perGroup = group / piece

  const round = { units: m * blocks, emit(f: FunctionBuilder, begin: Local, end: Local): void {
    const [unit, row, b, position, at] = i32s(f, 5)
    const [largest, inverse] = [f.local("v128"), f.local("v128")]
    const [scale, sum] = [f.local("f32"), f.local("v128")]
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
      f.get(largest); f.lane("f32x4.extract_lane", 0); f.f32(127); f.op("f32.div"); f.set(scale)
      // 127/amax, and 0 where amax is 0.
      f.f32x4(127); f.get(largest); f.op("f32x4.div")
      f.get(largest); f.f32x4(0); f.op("f32x4.ne", "v128.and"); f.set(inverse)
      for (const v of x) {
        f.get(v); f.get(inverse); f.op("f32x4.mul", "f32x4.nearest", "i32x4.trunc_sat_f32x4_s"); f.set(v)
      }
      address(f, 0, row!, k); f.get(position!); f.op("i32.add"); f.set(at!)
      for (const half of [0, 1]) {
        const [a, b2, c, d] = x.slice(4 * half) as [Local, Local, Local, Local]
        f.get(at!)
        f.get(a); f.get(b2); f.op("i16x8.narrow_i32x4_s")
        f.get(c); f.get(d); f.op("i16x8.narrow_i32x4_s", "i8x16.narrow_i16x8_s")
        f.store("v128.store", 16 * half)
      }
      for (let h = 0; h < halves; h++) {
        const at = (offset: number): void => { address(f, offset, row!, pieces * 4); f.get(b!); f.scale(4 * halves); f.op("i32.add") }
        const own = x.slice(h * (piece / 4), (h + 1) * (piece / 4))
        f.get(own[0]!)
        for (const v of own.slice(1)) { f.get(v); f.op("i32x4.add") }
        f.set(sum)
        at(scaleAt); f.get(scale); f.store("f32.store", 4 * h)
        at(sumAt)
        for (let lane = 0; lane < 4; lane++) {
          f.get(sum); f.lane("i32x4.extract_lane", lane)
          if (lane > 0) f.op("i32.add")
        }
        f.op("f32.convert_i32_s"); f.get(scale); f.op("f32.mul"); f.store("f32.store", 4 * h)
      }
    })
  } }

  const multiply = { units: Math.ceil(n / unitRows), emit(f: FunctionBuilder, begin: Local, end: Local): void {
    const [unit, row, rowEnd, i, b, xs, scales, sums, g] = i32s(f, 9)
    const quad = f.local("i32")
    const whole = halves === 1 ? b! : f.local("i32")
    const x = [f.local("v128"), f.local("v128")] as const
    const [total, factor, sum] = [f.local("v128"), f.local("v128"), f.local("f32")]

    /** Row `row` of W with row i of x. One at a time: V8 spills the registers of two. */
    const product = (): void => {
      const codes = code.along(f, 1, [row!, whole], whole)
      const stream = (name: "scale" | "zero" | "min"): PerGroup | undefined =>
        operands[name] && { quad: operands[name].quad?.bind(undefined, f, 1, [row!, g!]), value: operands[name].along(f, 1, [row!, g!], g!).value }
      const [scale, zero, min] = [stream("scale")!, stream("zero"), stream("min")]

      /** Pushes a per-group value for `count` pieces from b on, as a vector. */
      const perBlock = (s: PerGroup, integer: boolean, count: number): void => {
        if (perGroup === 1 && count === 4) {
          // Pieces are counted in fours.
          if (s.quad) { f.get(b!); f.i32(2); f.op("i32.shr_u"); f.set(quad); s.quad(quad) }
          else s.value(4)
          if (integer) f.op("f32x4.convert_i32x4_s")
          return
        }
        const one = (lane: number): void => {
          if (perGroup !== 1) { f.address(b!, lane, 1); f.i32(perGroup); f.op("i32.div_u"); f.set(g!) }
          s.value(1, perGroup === 1 ? lane : 0)
          if (integer) f.op("f32.convert_i32_s")
        }
        one(0)
        f.op("f32x4.splat")
        if (perGroup % 4 !== 0 && count > 1)
          for (let lane = 1; lane < count; lane++) { one(lane); f.lane("f32x4.replace_lane", lane) }
      }
      const activations = (area: Local, count: number): void => {
        f.address(area, b!, 4)
        f.load(count === 4 ? "v128.load" : count === 2 ? "v128.load64_zero" : "v128.load32_zero", 0, 0)
      }
      const step = (count: 1 | 2 | 4): void => {
        if (perGroup === 1) f.assign(g!, b!)
        perBlock(scale, false, count)
        f.set(factor)
        if (zero !== undefined || min !== undefined) {
          // (min − zero · scale) · activation scale · Σ q
          if (min) perBlock(min, false, count)
          if (zero) {
            perBlock(zero, true, count)
            f.get(factor); f.op("f32x4.mul", min ? "f32x4.sub" : "f32x4.neg")
          }
          activations(sums!, count)
          f.op("f32x4.mul"); f.get(total); f.op("f32x4.add"); f.set(total)
        }
        f.get(factor); activations(scales!, count); f.op("f32x4.mul"); f.set(factor)
        for (let lane = 0; lane < count; lane++) {
          const own = halves === 1 ? [0, 1] as const : [(lane % 2) as 0 | 1] as const
          if (halves === 2 && lane % 2 === 0) { f.get(b!); f.i32(1); f.op("i32.shr_u"); f.set(whole) }
          own.forEach((half, n) => { f.address(xs!, b!, piece); f.load("v128.load", 16 * n, 0); f.set(x[half]!) })
          dot(f, x, codes, own, code, features.relaxed)
          f.op("f32x4.convert_i32x4_s")
          f.get(factor); f.get(factor); f.shuffle32(lane, lane, lane, lane)
          if (features.relaxed) { f.get(total); f.op("f32x4.relaxed_madd") }
          else { f.op("f32x4.mul"); f.get(total); f.op("f32x4.add") }
          f.set(total)
          f.increment(b!, 1)
        }
      }
      f.f32x4(0); f.set(total)
      f.assign(b!, 0)
      f.forRange(b!, 0, pieces - 3, 0, () => step(4))
      if (pieces % 4 !== 0) f.forRange(b!, pieces - (pieces % 4), pieces, 0, () => step(halves === 1 ? 1 : 2))
      for (let lane = 0; lane < 4; lane++) {
        f.get(total); f.lane("f32x4.extract_lane", lane)
        if (lane > 0) f.op("f32.add")
      }
      f.set(sum)
      result.along(f, 1, [i!, row!], row!).finish(1, sum)
    }
    f.forRange(unit!, begin, end, 1, () => {
      f.get(unit!); f.scale(unitRows); f.set(row!)
      minimum(f, rowEnd!, () => f.address(row!, unitRows, 1), n)
      f.forRange(row!, row!, rowEnd!, 1, () => f.forRange(i!, 0, m, 1, () => {
        address(f, 0, i!, k); f.set(xs!)
        address(f, scaleAt, i!, pieces * 4); f.set(scales!)
        address(f, sumAt, i!, pieces * 4); f.set(sums!)
        product()
      }))
    })
  } }
  return { phases: [round, multiply], scratchBytes: sumAt + m * pieces * 4, threadScratchBytes: 0 }
}

/** Pushes Σ x · code of a block of 32, or of one half, as four partial sums (i32x4). x is in ±127. */
function dot(f: FunctionBuilder, x: readonly [Local, Local], codes: { value(half: 0 | 1): void }, halves: readonly (0 | 1)[], { low, high }: ByteOperand, relaxed: boolean): void {
  if (relaxed && low >= 0 && high * 127 * 4 <= 32767) {
    // Four products fit in 16 bits: both halves are added there and widened once.
    for (const half of halves) {
      f.get(x[half])
      codes.value(half)
      f.op("i16x8.relaxed_dot_i8x16_i7x16_s")
    }
    if (halves.length === 2) f.op("i16x8.add")
    f.op("i32x4.extadd_pairwise_i16x8_s")
    return
  }
  const code = f.local("v128")
  for (const [n, half] of halves.entries()) {
    codes.value(half)
    f.set(code)
    f.get(x[half])
    if (!relaxed) {
      f.get(code); f.op("i16x8.extmul_low_i8x16_s", "i32x4.extadd_pairwise_i16x8_s")
      f.get(x[half]); f.get(code); f.op("i16x8.extmul_high_i8x16_s", "i32x4.extadd_pairwise_i16x8_s", "i32x4.add")
      if (n === 1) f.op("i32x4.add")
      continue
    }
    if (low < 0) {
      // The second factor must fit in seven bits: its sign goes to x.
      const sign = f.local("v128")
      f.i32x4(0); f.get(code); f.op("i8x16.gt_s"); f.tee(sign)
      f.op("v128.xor"); f.get(sign); f.op("i8x16.sub")
      f.get(code); f.op("i8x16.abs")
    } else f.get(code)
    // Two products of 127 · 127 fit in 16 bits; more are added in 32.
    f.op("i16x8.relaxed_dot_i8x16_i7x16_s", "i32x4.extadd_pairwise_i16x8_s")
    if (n === 1) f.op("i32x4.add")
  }
}
