// Rows of x times a weight stored as bits and narrow values: eight bits choose a shuffle, which puts the next values, as they
// lie in memory, where the bits are set.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Holes } from "../emit/kernel.ts"
import type { RawElements } from "../emit/raw.ts"
import { i32s, v128s } from "./loops.ts"
import type { SparseProduct, Sums } from "./sparse.ts"
import { multiplyAdd } from "./tile.ts"

/** What a shuffle takes a byte from that is to be zero. */
const nothing = 128
/** For eight bits, lanes of 16: that of bit i takes the value of that bit, of so many bytes, at its top. */
const tableOf = (bytes: 1 | 2): Uint8Array => Uint8Array.from(Array.from({ length: 256 }, (_, bits) => Array.from({ length: 8 }, (_, i) => {
  const before = Array.from({ length: i }, (_, b) => (bits >> b) & 1).reduce((a, b) => a + b, 0)
  return [0, 1].map((byte) => (((bits >> i) & 1) === 0 || byte < 2 - bytes ? nothing : bytes * before + byte - (2 - bytes)))
}).flat()).flat())
const tables = { 1: tableOf(1), 2: tableOf(2) } as const

/** A row of W that is walked: `next` is the address of its next value, or that value's number where values are of four bits; `mask` that of its next bits. */
export interface MaskedRow { readonly next: Local; readonly mask: Local; readonly values: ReturnType<RawElements["along"]> }

/** Rows that are walked, and what begins a walk. */
export function maskedRows(f: FunctionBuilder, { operands: { begin } }: Holes, elements: RawElements, masks: RawElements, all: readonly Local[]): { readonly rows: readonly MaskedRow[]; start(): void } {
  const none = f.local("i32")
  f.assign(none, 0)
  const rows = all.map((row) => {
    const [first, next, mask] = i32s(f, 3) as [Local, Local, Local], values = elements.along(f, [row, none])
    begin!.along(f, 1, [row, none], none).value(1); f.scale(sizeOf(elements))
    if (elements.bits !== 4) { f.get(values.base); f.op("i32.add") }
    f.set(first)
    return { first, next, mask, values, bits: masks.along(f, [row, none]).base }
  })
  return { rows, start: () => { for (const { next, first, mask, bits } of rows) { f.assign(next, first); f.assign(mask, bits) } } }
}
/** How far one value is from the next, as rows count. */
const sizeOf = ({ bits }: RawElements): number => (bits === 4 ? 1 : bits / 8)

/** `elements` are of 16 bits at most, `masks` words of 32; `slow` reads no further than three places behind the last value. */
export function eights(holes: Holes, elements: RawElements, masks: RawElements, slow: SparseProduct): SparseProduct {
  const { n, k, ofFour } = holes.dims as { n: number; k: number; ofFour: number }, { begin } = holes.operands, count = Math.ceil(k / 8), rest = count % 4
  return {
    together: 4,
    padding: 8,
    joined: true,
    // Rows behind whose values there are not as many as are read at once. How many values there are is not known, but where the last row's begin.
    alone(f, to) {
      const [last, most] = i32s(f, 2) as [Local, Local], begins = begin!.along(f, 0, [to, last], to), read = elements.bits === 4 ? 16 : 8
      f.assign(last, 0)
      f.assign(to, n - 1)
      begins.value(1); f.i32(read - 3); f.op("i32.sub"); f.set(most)
      f.block((found) => f.loop((again) => {
        f.get(to); f.op("i32.eqz"); f.brIf(found)
        begins.value(1); f.get(most); f.op("i32.le_s"); f.brIf(found)
        f.increment(to, -1)
        f.br(again)
      }))
    },
    prepare(f, all) {
      if (all.length === 1) return slow.prepare(f, all)
      const word = f.local("i32"), { rows, start } = maskedRows(f, holes, elements, masks, all)
      return {
        scales: rows.map(({ values }) => values.scale),
        product(x, sums) {
          const some = (n: number): void => {
            for (let j = 0; j < n; j++) emitEight(f, holes, elements, { rows, x, sums, j })
            if (ofFour > 0) for (const { next } of rows) f.increment(next, 2 * ofFour * n * sizeOf(elements))
            for (const { mask } of rows) f.increment(mask, n)
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

interface Eight { readonly rows: readonly MaskedRow[]; readonly x: Local; readonly sums: readonly Sums[]; /** Which eight from the word's first on. */ readonly j: number }

/** Eight columns of every row. */
function emitEight(f: FunctionBuilder, { dims, features: { relaxed }, constants }: Holes, elements: RawElements, { rows, x, sums, j }: Eight): void {
  const ofFour = dims.ofFour!, size = sizeOf(elements), sign = elements.signed ? "s" : "u", fours = v128s(f, 2), [at, bits, place] = i32s(f, 3) as [Local, Local, Local], numbers = f.local("v128")
  fours.forEach((four, h) => { f.get(x); f.load("v128.load", 32 * j + 16 * h); f.set(four) })
  rows.forEach(({ next, mask, values }, s) => {
    f.get(mask); f.load("i32.load8_u", j); f.tee(bits); f.i32(4); f.op("i32.shl"); f.set(at)
    // With so many of each four the next values are where they would be of any row.
    const ahead = 2 * ofFour * j
    if (elements.bits === 4) {
      f.address(next, ahead, 1); f.set(place)
      unpack(f, elements.offset, values.base, place, constants.bytes(f, 15))
    } else { f.get(next); f.load(size === 2 ? "v128.load" : "v128.load64_zero", ahead * size, 0) }
    f.get(at); f.load("v128.load", constants.table(tables[elements.bits === 16 ? 2 : 1])); f.op(relaxed ? "i8x16.relaxed_swizzle" : "i8x16.swizzle")
    if (elements.bits < 16) { f.i32(8); f.op(`i16x8.shr_${sign}`) }
    f.set(numbers)
    // Halves of one vector, which the revectorizer joins.
    const lanes = (["low", "high"] as const).map((half) => {
      const own = f.local("v128"), value = f.local("v128")
      f.get(numbers); f.op(`i32x4.extend_${half}_i16x8_${sign}`); f.set(own)
      values.value(own); f.set(value)
      return value
    })
    lanes.forEach((own, h) => multiplyAdd(f, relaxed, () => f.get(fours[h]!), () => f.get(own), sums[s]![h]!))
    if (ofFour === 0) { f.get(next); f.get(bits); f.op("i32.popcnt"); f.scale(size); f.op("i32.add"); f.set(next) }
  })
}

/**
 * Pushes the eight numbers of four bits from `place` on, plus `offset`, as the first eight bytes of a vector. Reads eight bytes; or, of
 * `count` numbers that are there, at most two places more.
 */
export function unpack(f: FunctionBuilder, offset: number, base: Local, place: Local, low: Local, count?: 4 | 8): void {
  const both = f.local("v128"), at = f.local("i32")
  f.get(base); f.get(place); f.i32(1); f.op("i32.shr_u", "i32.add"); f.set(at)
  f.get(at); f.load(count === undefined ? "i64.load" : count === 8 ? "i64.load32_u" : "i64.load16_u", 0, 0)
  if (count !== undefined) { f.get(at); f.load("i64.load8_u", count / 2); f.i64(BigInt(4 * count)); f.op("i64.shl", "i64.or") }
  f.get(place); f.i32(1); f.op("i32.and"); f.scale(4); f.op("i64.extend_i32_u", "i64.shr_u", "i32.wrap_i64", "i32x4.splat"); f.set(both)
  f.get(both); f.get(low); f.op("v128.and")
  f.get(both); f.i32(4); f.op("i16x8.shr_u"); f.get(low); f.op("v128.and")
  f.shuffle([0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23])
  f.v128const(Array.from({ length: 16 }, () => offset & 255)); f.op("i8x16.add")
}
