// Rows of x times a weight stored as bits and narrow values: eight bits choose two shuffles, which put the next values, as they
// lie in memory, where the bits are set, four to a vector.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Holes } from "../emit/kernel.ts"
import type { RawElements } from "../emit/raw.ts"
import { i32s, v128s } from "./loops.ts"
import type { SparseProduct, Sums } from "./sparse.ts"
import { multiplyAdd } from "./tile.ts"

/** What a shuffle takes a byte from that is to be zero. */
const nothing = 128
const setBits = (bits: number): number[] => Array.from({ length: 8 }, (_, i) => i).filter((i) => (bits >> i) & 1)
/** For eight bits, the bytes of four lanes: lane i takes the value of bit `from` + i, of so many bytes, at its top. */
const tableOf = (bytes: 1 | 2, from: 0 | 4): Uint8Array => Uint8Array.from(Array.from({ length: 256 }, (_, bits) => [0, 1, 2, 3].flatMap((i) => {
  const place = setBits(bits).indexOf(from + i)
  return [0, 1, 2, 3].map((byte) => (place < 0 || byte < 4 - bytes ? nothing : bytes * place + byte - (4 - bytes)))
})).flat())
const tables = { 1: [tableOf(1, 0), tableOf(1, 4)], 2: [tableOf(2, 0), tableOf(2, 4)] } as const

/** `next`: the address of the next value, or its number where values are four bits. */
interface Row { readonly first: Local; readonly next: Local; readonly mask: Local; readonly bits: Local; readonly values: ReturnType<RawElements["along"]> }

/** `elements` are of 16 bits at most, `masks` words of 32. */
export function eights(holes: Holes, elements: RawElements, masks: RawElements): SparseProduct {
  const { k, ofFour } = holes.dims as { k: number; ofFour: number }, { begin } = holes.operands, bytes = elements.bits === 16 ? 2 : 1, size = elements.bits === 4 ? 1 : bytes
  const count = Math.ceil(k / 8), rest = count % 4
  return {
    together: 4,
    padding: 8,
    prepare(f, all) {
      const [word, none] = i32s(f, 2) as [Local, Local]
      f.assign(none, 0)
      const rows = all.map((row): Row => {
        const [first, next, mask, bits] = i32s(f, 4) as [Local, Local, Local, Local], values = elements.along(f, [row, none])
        begin!.along(f, 1, [row, none], none).value(1); f.scale(size)
        if (elements.bits !== 4) { f.get(values.base); f.op("i32.add") }
        f.set(first)
        return { first, next, mask, bits, values }
      })
      const ones = all.map((row) => masks.along(f, [row, none]).base)
      return {
        scales: rows.map(({ values }) => values.scale),
        product(x, sums) {
          const some = (n: number): void => {
            for (let j = 0; j < n; j++) emitEight(f, holes, elements, { rows, x, sums, j, size, tables: tables[bytes] })
            if (ofFour > 0) for (const { next } of rows) f.increment(next, 2 * ofFour * n * size)
            for (const { mask } of rows) f.increment(mask, n)
            f.increment(x, 32 * n)
          }
          rows.forEach(({ next, first, mask }, s) => { f.assign(next, first); f.assign(mask, ones[s]!) })
          f.forRange(word, 0, (count - rest) / 4, 1, () => some(4))
          if (rest > 0) some(rest)
        },
      }
    },
  }
}

interface Eight { readonly rows: readonly Row[]; readonly x: Local; readonly sums: readonly Sums[]; /** Which eight from the word's first on. */ readonly j: number; readonly size: number; readonly tables: readonly [Uint8Array, Uint8Array] }

/** Eight columns of every row. */
function emitEight(f: FunctionBuilder, { dims, features: { relaxed }, constants }: Holes, elements: RawElements, { rows, x, sums, j, size, tables }: Eight): void {
  const ofFour = dims.ofFour!, fours = v128s(f, 2), [at, place] = i32s(f, 2) as [Local, Local], [raw, lanes] = v128s(f, 2) as [Local, Local]
  fours.forEach((four, h) => { f.get(x); f.load("v128.load", 32 * j + 16 * h); f.set(four) })
  rows.forEach(({ next, mask, bits, values }, s) => {
    f.get(mask); f.load("i32.load8_u", j); f.tee(bits); f.i32(4); f.op("i32.shl"); f.set(at)
    // With so many of each four the next values are where they would be of any row.
    const ahead = 2 * ofFour * j
    if (elements.bits === 4) {
      f.address(next, ahead, 1); f.set(place)
      unpack(f, elements.offset, values.base, place, constants.bytes(f, 15))
    } else { f.get(next); f.load(size === 2 ? "v128.load" : "v128.load64_zero", ahead * size, 0) }
    f.set(raw)
    tables.forEach((table, h) => {
      f.get(raw); f.get(at); f.load("v128.load", constants.table(table)); f.op(relaxed ? "i8x16.relaxed_swizzle" : "i8x16.swizzle")
      // Numbers of a byte are at the top of their lanes.
      if (elements.bits < 16) { f.i32(24); f.op(elements.signed ? "i32x4.shr_s" : "i32x4.shr_u") }
      f.set(lanes)
      multiplyAdd(f, relaxed, () => f.get(fours[h]!), () => values.value(lanes), sums[s]![h]!)
    })
    if (ofFour === 0) { f.get(next); f.get(bits); f.op("i32.popcnt"); f.scale(size); f.op("i32.add"); f.set(next) }
  })
}

/** Pushes the eight numbers of four bits from `place` on, plus `offset`, as the first eight bytes of a vector. */
export function unpack(f: FunctionBuilder, offset: number, base: Local, place: Local, low: Local): void {
  const both = f.local("v128")
  f.get(base); f.get(place); f.i32(1); f.op("i32.shr_u", "i32.add"); f.load("i64.load", 0, 0)
  f.get(place); f.i32(1); f.op("i32.and"); f.scale(4); f.op("i64.extend_i32_u", "i64.shr_u", "i32.wrap_i64", "i32x4.splat"); f.set(both)
  f.get(both); f.get(low); f.op("v128.and")
  f.get(both); f.i32(4); f.op("i16x8.shr_u"); f.get(low); f.op("v128.and")
  f.shuffle([0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23])
  f.v128const(Array.from({ length: 16 }, () => offset & 255)); f.op("i8x16.add")
}
