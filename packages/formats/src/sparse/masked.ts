import { expr, fail, type Expr, type PartReader, type TypedArray } from "@thimble/core"
import type { MatrixShape } from "../dialect/codes.ts"
import type { ListedOptions } from "./listed.ts"
import { coded, valuesOf, type Parts, type SparseFormat } from "./values.ts"

/** Columns of a word of bits, and words between places that are stored. */
const wordColumns = 32, spanWords = 4

/** A bit per element, and the values of those that are not zero, with the place of each 128 columns' first. */
export function bitmask({ values = "f32" }: ListedOptions = {}): SparseFormat {
  const store = valuesOf("bitmask", values), spans = (columns: number): number => Math.ceil(columns / (wordColumns * spanWords))
  return {
    name: `bitmask ${values}`, bits: store.bits + 1.25, group: 1, values, ...coded(values, false, fill),
    encode(matrix, [rows, columns]) {
      const words = Math.ceil(columns / wordColumns), mask = new Uint32Array(rows * words), offsets = new Int32Array(rows * spans(columns)), elements: number[] = [], rowOf: number[] = []
      for (let r = 0; r < rows; r++)
        for (let c = 0; c < columns; c++) {
          if (c % (wordColumns * spanWords) === 0) offsets[r * spans(columns) + c / (wordColumns * spanWords)] = elements.length
          const v = matrix[r * columns + c]!
          if (v === 0) continue
          mask[r * words + (c >> 5)]! |= 1 << (c & 31)
          elements.push(v)
          rowOf.push(r)
        }
      return {
        mask: { data: mask, shape: [rows, words], dtype: "u32" }, offsets: { data: offsets, shape: [rows, spans(columns)], dtype: "i32" },
        ...store.store(Float32Array.from(elements), Uint32Array.from(rowOf), rows),
      }
    },
    storedBytes: ([rows, columns], elements) => rows * 4 * (Math.ceil(columns / wordColumns) + spans(columns)) + store.bytes(elements, rows),
    code: () => expr.int(1),
    scale(part, row, column) {
      const { add, cast, div, int, lt, mul, rem, select, constant } = expr
      const word = div(column, int(wordColumns)), span = div(word, int(spanWords)), own = rem(word, int(spanWords))
      let place = add(part("offsets", row, span), cast(count(below(part("mask", row, word), column)), "i32"))
      for (let before = 0; before < Math.min(spanWords - 1, word.high); before++) {
        const there = lt(int(before), own), at = select(there, add(mul(span, int(spanWords)), int(before)), word)
        place = add(place, select(there, cast(count(part("mask", row, at)), "i32"), int(0)))
      }
      return whereSet(part("mask", row, word), column, store.value(part, row, place), constant("f32", 0))
    },
    sparse: {
      begin: (part, row) => part("offsets", row, expr.int(0)),
      mask: (part, row, word) => part("mask", row, word),
      value: (part, row, place) => store.value(part, row, place),
    },
  }
}

/** So many of so many neighbours of each row: their values, and a bit for each neighbour. 2:4 and 4:8 are nOfM(2, 4) and nOfM(4, 8). */
export function nOfM(n: number, m: number, { values = "f32" }: ListedOptions = {}): SparseFormat {
  if (!(Number.isInteger(m) && [2, 4, 8, 16, 32].includes(m) && Number.isInteger(n) && n >= 1 && n < m)) fail("value", "nOfM", `cannot store ${n} of ${m}`, "of 2, 4, 8, 16 or 32")
  const store = valuesOf("nOfM", values), name = `${n}:${m} ${values}`
  const begin = (part: PartReader, row: Expr): Expr => part("offsets", row)
  const unfit = ([, columns]: readonly [number, number]): string | undefined => (columns % m === 0 ? undefined : `rows of ${columns} are not whole multiples of ${m}, which ${name} needs`)
  return {
    name, bits: (store.bits * n) / m + 1, group: 1, values, unfit, ...coded(values, n === 2 && m === 4, fill),
    encode(matrix, shape) {
      const [rows, columns] = shape, wrong = unfit(shape)
      if (wrong !== undefined) fail("shape", "nOfM", wrong)
      const words = Math.ceil(columns / wordColumns), mask = new Uint32Array(rows * words), elements = new Float32Array((rows * columns * n) / m), rowOf = new Uint32Array(elements.length)
      let place = 0
      for (let r = 0; r < rows; r++)
        for (let c = 0; c < columns; c += m) {
          const run = matrix.subarray(r * columns + c, r * columns + c + m), filled = run.reduce((s, v) => s + Number(v !== 0), 0)
          if (filled > n) fail("value", "nOfM", `row ${r} has ${filled} elements in columns ${c} to ${c + m - 1}, ${name} stores ${n}`, `prune it to ${n}:${m} first`)
          // Where fewer stay, zeros are stored.
          let spare = n - filled
          for (let i = 0; i < m; i++) {
            if (run[i] === 0 && spare-- <= 0) continue
            mask[r * words + ((c + i) >> 5)]! |= 1 << ((c + i) & 31)
            elements[place] = run[i]!
            rowOf[place++] = r
          }
        }
      const offsets = Int32Array.from({ length: rows }, (_, r) => (r * columns * n) / m)
      return { mask: { data: mask, shape: [rows, words], dtype: "u32" }, offsets: { data: offsets, shape: [rows], dtype: "i32" }, ...store.store(elements, rowOf, rows) }
    },
    storedBytes: ([rows, columns]) => rows * 4 * (Math.ceil(columns / wordColumns) + 1) + store.bytes((rows * columns * n) / m, rows),
    code: () => expr.int(1),
    scale(part, row, column) {
      const { add, and, cast, constant, div, int, mul, rem, shl, shr, sub } = expr, u = (v: number): Expr => constant("u32", v)
      const word = part("mask", row, div(column, int(wordColumns))), group = mul(div(rem(column, int(wordColumns)), int(m)), int(m))
      // The bits of its group, those below its own counted.
      const bits = and(shr(word, cast(group, "u32")), sub(shl(u(1), cast(rem(column, int(m)), "u32")), u(1)))
      const place = add(add(begin(part, row), mul(div(column, int(m)), int(n))), cast(count(bits), "i32"))
      return whereSet(word, column, store.value(part, row, place), constant("f32", 0))
    },
    sparse: {
      ...(m <= 4 && { ofFour: (4 / m) * n }),
      begin,
      mask: (part, row, word) => part("mask", row, word),
      value: (part, row, place) => store.value(part, row, place),
    },
  }
}

/** Values to where bits are set. */
function fill({ mask, values }: Parts, [rows, columns]: MatrixShape, out: TypedArray): void {
  const words = Math.ceil(columns / wordColumns)
  for (let r = 0, place = 0; r < rows; r++) for (let c = 0; c < columns; c++) if ((mask!.data[r * words + (c >> 5)]! >>> (c & 31)) & 1) out[r * columns + c] = values!.data[place++]!
}

/** Bits of a word under that of a column. */
function below(word: Expr, column: Expr): Expr {
  const { and, cast, constant, int, rem, shl, sub } = expr
  return and(word, sub(shl(constant("u32", 1), cast(rem(column, int(wordColumns)), "u32")), constant("u32", 1)))
}
const whereSet = (word: Expr, column: Expr, yes: Expr, no: Expr): Expr => {
  const { and, cast, constant, eq, int, rem, select, shr } = expr
  return select(eq(and(shr(word, cast(rem(column, int(wordColumns)), "u32")), constant("u32", 1)), constant("u32", 0)), no, yes)
}
/** How many bits of a word are set. */
function count(word: Expr): Expr {
  const { add, and, constant, shr } = expr, u = (v: number): Expr => constant("u32", v)
  const fold = (x: Expr, shift: number, mask: number): Expr => add(and(x, u(mask)), and(shr(x, u(shift)), u(mask)))
  return fold(fold(fold(fold(fold(word, 1, 0x55555555), 2, 0x33333333), 4, 0x0f0f0f0f), 8, 0x00ff00ff), 16, 0x0000ffff)
}
