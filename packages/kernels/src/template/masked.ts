// Rows of x times a weight stored as bits and values: four bits spread values to their places, by a shuffle out of a table. Where two
// of each four are stored see masked.pairs.ts, for values of 16 bits or less masked.eights.ts.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Holes } from "../emit/kernel.ts"
import type { Stream, Template } from "./holes.ts"
import { eights } from "./masked.eights.ts"
import { pairs } from "./masked.pairs.ts"
import { i32s, v128s } from "./loops.ts"
import { sparseProduct, type SparseProduct, type Sums } from "./sparse.ts"
import { multiplyAdd } from "./tile.ts"

/** What a shuffle takes a lane from that is to be zero. */
const nothing = [128, 128, 128, 128]
const lane = (i: number): number[] => [4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3]
const bitsOf = (bits: number): number[] => [0, 1, 2, 3].filter((i) => (bits >> i) & 1)

/** For four bits: the next values go where bits are set. */
const spread = Uint8Array.from(Array.from({ length: 16 }, (_, bits) => [0, 1, 2, 3].flatMap((i) => ((bits >> i) & 1 ? lane(bitsOf(bits).indexOf(i)) : nothing))).flat())
/** One row of W, word after word; `first` is the place of its first value. */
interface Row { readonly first: Local; readonly place: Local; readonly bits: Local; readonly masks: Stream; readonly values: Stream }

export function maskedMatmul(holes: Holes): Template {
  const { k, ofFour } = holes.dims as { k: number; ofFour: number }
  const { begin, mask, value } = holes.operands as Record<"begin" | "mask" | "value", Holes["operands"][string]>
  const words = Math.floor(k / 32), rest = Math.ceil((k % 32) / 4)
  const spreading: SparseProduct = {
    together: 4,
    padding: 4,
    prepare(f, all) {
      const [word, none] = i32s(f, 2) as [Local, Local]
      f.assign(none, 0)
      const rows = all.map((row): Row => {
        const [first, place, bits] = i32s(f, 3) as [Local, Local, Local]
        begin.along(f, 1, [row, none], none).value(1); f.set(first)
        return { first, place, bits, masks: mask.along(f, 1, [row, word], word), values: value.along(f, 1, [row, place], place) }
      })
      return {
        product(x, sums) {
          /** `fours` times four columns, from the word's first on. */
          const columns = (fours: number): void => {
            for (const { masks, bits } of rows) { masks.value(1); f.set(bits) }
            spreadValues(f, holes, rows, x, sums, fours)
            f.increment(x, 128)
          }
          for (const { place, first } of rows) f.assign(place, first)
          f.forRange(word, 0, words, 1, () => columns(8))
          if (rest > 0) { f.assign(word, words); columns(rest) }
        },
      }
    },
  }
  const elements = value!.raw?.(1), masks = mask!.raw?.(1)
  if (elements !== undefined && masks?.bits === 32) {
    // Pairs are decoded once for eight columns, what is spread twice.
    if (ofFour === 2 && k % 8 === 0 && !(elements.bits === 16 && elements.plain)) return sparseProduct(holes, pairs(holes, elements, masks))
    if (elements.bits <= 16) return sparseProduct(holes, eights(holes, elements, masks, spreading))
  }
  return sparseProduct(holes, spreading)
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
