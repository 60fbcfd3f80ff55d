// Rows of x times a weight of which two of each four are stored: eight bits gather the four elements of x that the next vector of
// values meets, so that values are decoded once, as they lie in memory.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Holes } from "../emit/kernel.ts"
import type { RawElements } from "../emit/raw.ts"
import { i32s, v128s } from "./loops.ts"
import { maskedRows, unpack, type MaskedRow } from "./masked.eights.ts"
import type { SparseProduct, Sums } from "./sparse.ts"
import { multiplyAdd } from "./tile.ts"

/** What a shuffle takes a lane from that is to be zero. */
const nothing = [128, 128, 128, 128]
const lane = (i: number): number[] => [4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3]
/** For four bits: the elements at the first two that are set. */
const pairOf = (bits: number): number[][] => {
  const set = [0, 1, 2, 3].filter((i) => (bits >> i) & 1)
  return [0, 1].map((i) => (set[i] === undefined ? nothing : lane(set[i])))
}
/** For eight bits: what the first four gather, in lanes 0 and 1; and the others, in 2 and 3. */
const table = Uint8Array.from(Array.from({ length: 256 }, (_, bits) => [...pairOf(bits & 15), ...pairOf(bits >> 4)].flat()).flat())

/** Rows are whole multiples of eight columns; `masks` are words of 32. */
export function pairs(holes: Holes, elements: RawElements, masks: RawElements): SparseProduct {
  const { k } = holes.dims as { k: number }, count = k / 8, rest = count % 4
  return {
    together: 4,
    padding: 8,
    prepare(f, all) {
      const word = f.local("i32"), { rows, start } = maskedRows(f, holes, elements, masks, all)
      return {
        scales: rows.map(({ values }) => values.scale),
        product(x, sums) {
          const some = (n: number): void => {
            emitEights(f, holes, elements, rows, x, sums, n)
            for (const { next, mask } of rows) {
              f.increment(next, elements.bits === 4 ? 4 * n : (n * elements.bits) / 2)
              f.increment(mask, n)
            }
            f.increment(x, 32 * n)
          }
          start()
          f.forRange(word, 0, (count - rest) / 4, 1, () => some(4))
          if (rest > 0) some(rest)
        },
      }
    },
  }
}

/** `count` times eight columns of every row. */
function emitEights(f: FunctionBuilder, { features: { relaxed }, constants }: Holes, elements: RawElements, rows: readonly MaskedRow[], x: Local, sums: readonly Sums[], count: number): void {
  const [gathered, shuffle] = v128s(f, 2) as [Local, Local], fours = v128s(f, 2), read: (() => void)[][] = []
  for (let j = 0; j < count; j++) {
    fours.forEach((four, h) => { f.get(x); f.load("v128.load", 32 * j + 16 * h); f.set(four) })
    rows.forEach((row, s) => {
      if (j % 2 === 0) read[s] = twice(f, elements, row, j, j + 1 < count, constants)
      f.get(row.mask); f.load("i32.load8_u", j); f.i32(4); f.op("i32.shl"); f.load("v128.load", constants.table(table)); f.set(shuffle)
      for (const four of fours) { f.get(four); f.get(shuffle); f.op(relaxed ? "i8x16.relaxed_swizzle" : "i8x16.swizzle") }
      f.shuffle32(0, 1, 6, 7); f.set(gathered)
      // One sum by row: more do not stay in registers.
      multiplyAdd(f, relaxed, () => f.get(gathered), read[s]![j % 2]!, sums[s]![0])
    })
  }
}

/** The values of eight columns from the j-th eight on, and of the next eight, if they are wanted: each pushes four. */
function twice(f: FunctionBuilder, { bits, signed, offset }: RawElements, { next, values }: MaskedRow, j: number, both: boolean, constants: Holes["constants"]): (() => void)[] {
  const numbers = f.local("v128"), halves = both ? ["low", "high"] as const : ["low"] as const
  const push = (four: () => void) => (): void => {
    const own = f.local("v128")
    four(); f.set(own)
    values.value(own)
  }
  if (bits === 32) return halves.map((_, h) => push(() => { f.get(next); f.load("v128.load", 16 * (j + h), 0) }))
  const sign = signed ? "s" : "u"
  if (bits === 16) return halves.map((_, h) => push(() => { f.get(next); f.load(`v128.load16x4_${sign}`, 8 * (j + h), 0) }))
  if (bits === 4) {
    const [place] = i32s(f, 1) as [Local]
    f.address(next, 4 * j, 1); f.set(place)
    unpack(f, offset, values.base, place, constants.bytes(f, 15), both ? 8 : 4); f.op("i16x8.extend_low_i8x16_s")
  } else {
    f.get(next)
    if (both) f.load(`v128.load8x8_${sign}`, 4 * j, 0)
    else { f.load("v128.load32_zero", 4 * j, 0); f.op(`i16x8.extend_low_i8x16_${sign}`) }
  }
  f.set(numbers)
  return halves.map((half) => push(() => { f.get(numbers); f.op(`i32x4.extend_${half}_i16x8_${sign}`) }))
}
