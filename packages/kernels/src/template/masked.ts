// Rows of x times a weight stored as bits and values: bits choose shuffles, out of tables. Where two of each four are stored, eight
// bits gather the four elements of x that the next vector of values meets; else four bits spread values to their places (of 32
// bits: for narrower ones see masked.eights.ts).
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Holes } from "../emit/kernel.ts"
import type { RawElements } from "../emit/raw.ts"
import type { Stream, Template } from "./holes.ts"
import { eights, unpack } from "./masked.eights.ts"
import { i32s, v128s } from "./loops.ts"
import { sparseProduct, type Sums } from "./sparse.ts"
import { multiplyAdd } from "./tile.ts"

/** What a shuffle takes a lane from that is to be zero. */
const nothing = [128, 128, 128, 128]
const lane = (i: number): number[] => [4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3]
const bitsOf = (bits: number): number[] => [0, 1, 2, 3].filter((i) => (bits >> i) & 1)

/** For four bits: the next values go where bits are set. */
const spread = Uint8Array.from(Array.from({ length: 16 }, (_, bits) => [0, 1, 2, 3].flatMap((i) => ((bits >> i) & 1 ? lane(bitsOf(bits).indexOf(i)) : nothing))).flat())
/** For eight bits, four of each half of the columns: the first two of the first half, in lanes 0 and 1; and in 2 and 3 those of the second. */
const pairOf = (bits: number): number[][] => [0, 1].map((i) => (bitsOf(bits)[i] === undefined ? nothing : lane(bitsOf(bits)[i]!)))
const firstPairs = Uint8Array.from(Array.from({ length: 256 }, (_, bits) => [...pairOf(bits & 15), nothing, nothing].flat()).flat())
const secondPairs = Uint8Array.from(Array.from({ length: 256 }, (_, bits) => [nothing, nothing, ...pairOf(bits >> 4)].flat()).flat())

/** One row of W, word after word; `first` is the place of its first value. Pairs of integers are read as they lie. */
interface Row { readonly first: Local; readonly place: Local; readonly bits: Local; readonly masks: Stream; readonly values: Stream; readonly integers: ReturnType<RawElements["along"]> | undefined }

export function maskedMatmul(holes: Holes): Template {
  const { k, ofFour } = holes.dims as { k: number; ofFour: number }
  const { begin, mask, value } = holes.operands as Record<"begin" | "mask" | "value", Holes["operands"][string]>
  const elements = value!.raw?.(1), masks = mask!.raw?.(1)
  const pairs = ofFour === 2 && k % 8 === 0
  // Pairs are decoded once for eight columns, what is spread twice.
  if (elements !== undefined && (!pairs || elements.plain) && elements.bits <= 16 && masks?.bits === 32) return sparseProduct(holes, eights(holes, elements, masks))
  const integers = pairs && elements !== undefined && elements.bits <= 8 ? elements : undefined, words = Math.floor(k / 32), rest = Math.ceil((k % 32) / 4)
  return sparseProduct(holes, {
    together: 4,
    padding: 4,
    prepare(f, all) {
      const [word, none] = i32s(f, 2) as [Local, Local]
      f.assign(none, 0)
      const rows = all.map((row): Row => {
        const [first, place, bits] = i32s(f, 3) as [Local, Local, Local]
        begin.along(f, 1, [row, none], none).value(1); f.set(first)
        return { first, place, bits, masks: mask.along(f, 1, [row, word], word), values: value.along(f, 1, [row, place], place), integers: integers?.along(f, [row, none]) }
      })
      return {
        scales: rows.map((row) => row.integers?.scale),
        product(x, sums) {
          /** `fours` times four columns, from the word's first on. */
          const columns = (fours: number): void => {
            for (const { masks, bits } of rows) { masks.value(1); f.set(bits) }
            if (pairs) gatherPairs(f, holes, rows, x, sums, fours / 2, integers)
            else spreadValues(f, holes, rows, x, sums, fours)
            f.increment(x, 128)
          }
          for (const { place, first } of rows) f.assign(place, first)
          f.forRange(word, 0, words, 1, () => columns(8))
          if (rest > 0) { f.assign(word, words); columns(rest) }
        },
      }
    },
  })
}

function gatherPairs(f: FunctionBuilder, { features: { relaxed }, constants }: Holes, rows: readonly Row[], x: Local, sums: readonly Sums[], bytes: number, integers: RawElements | undefined): void {
  const at = f.local("i32"), gathered = f.local("v128"), halves = v128s(f, 2)
  const read = rows.map((row): (() => void)[] | undefined => integers && row.integers && [])
  for (let j = 0; j < bytes; j++) {
    halves.forEach((half, h) => { f.get(x); f.load("v128.load", 32 * j + 16 * h); f.set(half) })
    rows.forEach(({ bits, values, place, integers: own }, s) => {
      if (j % 2 === 0 && read[s]) read[s] = eightIntegers(f, integers!, own!, place, 4 * j, constants)
      // Sixteen times the byte.
      f.get(bits); f.i32(j === 0 ? 4 : 8 * j - 4); f.op(j === 0 ? "i32.shl" : "i32.shr_u"); f.i32(0xff0); f.op("i32.and"); f.set(at)
      ;[firstPairs, secondPairs].forEach((table, h) => {
        f.get(halves[h]!)
        f.get(at); f.load("v128.load", constants.table(table))
        f.op(relaxed ? "i8x16.relaxed_swizzle" : "i8x16.swizzle")
      })
      f.op("v128.or"); f.set(gathered)
      // One sum by row: more do not stay in registers.
      multiplyAdd(f, relaxed, () => f.get(gathered), () => (read[s] ? read[s][j % 2]!() : values.value(4, 4 * j)), sums[s]![0])
    })
  }
  for (const { place } of rows) f.increment(place, 4 * bytes)
}

/** The eight elements from `place` + `ahead` on, made of integers: each pushes four of them. */
function eightIntegers(f: FunctionBuilder, { bits, signed, offset }: RawElements, own: ReturnType<RawElements["along"]>, place: Local, ahead: number, constants: Holes["constants"]): (() => void)[] {
  const words = f.local("v128"), sign = signed ? "s" : "u", from = f.local("i32")
  if (bits === 4) {
    f.address(place, ahead, 1); f.set(from)
    unpack(f, offset, own.base, from, constants.bytes(f, 15)); f.op("i16x8.extend_low_i8x16_s")
  } else { f.get(own.base); f.get(place); f.op("i32.add"); f.load(`v128.load8x8_${sign}`, ahead, 0) }
  f.set(words)
  return (["low", "high"] as const).map((half) => () => {
    const four = f.local("v128")
    f.get(words); f.op(`i32x4.extend_${half}_i16x8_${sign}`); f.set(four)
    own.value(four)
  })
}

function spreadValues(f: FunctionBuilder, { dims, features: { relaxed }, constants }: Holes, rows: readonly Row[], x: Local, sums: readonly Sums[], fours: number): void {
  const ofFour = dims.ofFour!, [shuffle, four] = v128s(f, 2) as [Local, Local]
  for (let j = 0; j < fours; j++) {
    f.get(x); f.load("v128.load", 16 * j); f.set(four)
    rows.forEach(({ bits, place, values }, s) => {
      f.get(bits)
      if (j !== 1) { f.i32(j === 0 ? 4 : 4 * j - 4); f.op(j === 0 ? "i32.shl" : "i32.shr_u") }
      f.i32(0xf0); f.op("i32.and"); f.load("v128.load", constants.table(spread)); f.set(shuffle)
      multiplyAdd(f, relaxed, () => f.get(four), () => {
        values.value(4, ofFour * j); f.get(shuffle); f.op(relaxed ? "i8x16.relaxed_swizzle" : "i8x16.swizzle")
      }, sums[s]![j % 2]!)
      if (ofFour === 0) { f.get(place); f.get(bits); f.i32(0xf << (4 * j)); f.op("i32.and", "i32.popcnt", "i32.add"); f.set(place) }
    })
  }
  if (ofFour > 0) for (const { place } of rows) f.increment(place, ofFour * fours)
}
