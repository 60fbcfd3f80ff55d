// Rows of x times a weight stored as bits and values: each four bits choose a shuffle that puts the values that are there in
// their places, with zeros between them.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Holes } from "../emit/kernel.ts"
import type { Template } from "./holes.ts"
import { i32s } from "./loops.ts"
import { sparseProduct } from "./sparse.ts"
import { multiplyAdd } from "./tile.ts"

/** For each four bits, where the lanes of a vector come from: the next value, or (128) nowhere. */
const shuffles = Array.from({ length: 16 }, (_, bits) => {
  let next = 0
  return Array.from({ length: 16 }, (_, byte) => {
    const set = (bits >> (byte >> 2)) & 1, from = set === 1 ? 4 * next + (byte & 3) : 128
    if (set === 1 && (byte & 3) === 3) next++
    return from
  })
})

function fillTable(f: FunctionBuilder, at: Local): void {
  shuffles.forEach((bytes, i) => { f.get(at); f.v128const(bytes); f.store("v128.store", 16 * i) })
}

export function maskedMatmul(holes: Holes): Template {
  const { dims, features: { relaxed } } = holes, { k, ofFour } = dims as { k: number; ofFour: number }
  const { begin, mask, value } = holes.operands as Record<"begin" | "mask" | "value", Holes["operands"][string]>
  const words = Math.floor(k / 32), rest = Math.ceil((k % 32) / 4)
  return sparseProduct(holes, {
    padding: 4,
    table: { bytes: 256, fill: fillTable },
    prepare(f, row, table) {
      const [first, place, word, bits, none] = i32s(f, 5) as [Local, Local, Local, Local, Local], shuffle = f.local("v128")
      f.assign(none, 0)
      const begins = begin.along(f, 1, [row, none], none), masks = mask.along(f, 1, [row, word], word), values = value.along(f, 1, [row, place], place)
      /** The next four columns `count` times, from the word's first on. */
      const fours = (count: number, x: Local, sums: readonly [Local, Local]): void => {
        masks.value(1); f.set(bits)
        for (let j = 0; j < count; j++) {
          f.get(bits)
          if (j !== 1) { f.i32(j === 0 ? 4 : 4 * j - 4); f.op(j === 0 ? "i32.shl" : "i32.shr_u") }
          f.i32(0xf0); f.op("i32.and"); f.get(table); f.op("i32.add"); f.load("v128.load"); f.set(shuffle)
          multiplyAdd(f, relaxed, () => { f.get(x); f.load("v128.load", 16 * j) }, () => {
            values.value(4, ofFour * j); f.get(shuffle); f.op(relaxed ? "i8x16.relaxed_swizzle" : "i8x16.swizzle")
          }, sums[j % 2]!)
          if (ofFour === 0) { f.get(place); f.get(bits); f.i32(0xf << (4 * j)); f.op("i32.and", "i32.popcnt", "i32.add"); f.set(place) }
        }
        if (ofFour > 0) f.increment(place, ofFour * count)
        f.increment(x, 128)
      }
      return {
        begin() { begins.value(1); f.set(first) },
        product(x, sums) {
          f.assign(place, first)
          f.forRange(word, 0, words, 1, () => fours(8, x, sums))
          if (rest > 0) { f.assign(word, words); fours(rest, x, sums) }
        },
      }
    },
  })
}
