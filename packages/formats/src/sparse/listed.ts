import { expr, fail, type Expr, type PartReader } from "@thimble/core"
import type { MatrixShape } from "../dialect/codes.ts"
import { coded, padding, valuesOf, type SparseFormat, type SparseValues } from "./values.ts"

export interface ListedOptions {
  /** f32 unless given. */
  readonly values?: SparseValues
}

/** Rows and columns of a block. */
export type BlockShape = readonly [rows: number, columns: number]

/** Compressed sparse rows: where each row begins, and the column and value of each element that is not zero. */
export const csr = (options: ListedOptions = {}): SparseFormat => listed([1, 1], "csr", options)

/** The same of blocks: those of rows × columns neighbours that are not all zero are stored whole. */
export const blocks = (block: BlockShape, options: ListedOptions = {}): SparseFormat => listed(block, `blocks ${block.join("x")}`, options)

function listed(block: BlockShape, name: string, { values = "f32" }: ListedOptions): SparseFormat {
  const store = valuesOf("csr", values), [r, c] = block, size = r * c
  if (!block.every((n) => Number.isInteger(n) && n >= 1)) fail("value", "blocks", `blocks of ${block.join(" × ")}`, "whole numbers from 1 on")
  const across = (columns: number): number => Math.ceil(columns / c), wide = (columns: number): boolean => across(columns) > 65536
  const begin = (part: PartReader, row: Expr): Expr => part("offsets", row), column = (part: PartReader, place: Expr): Expr => expr.cast(part("columns", place), "i32")
  /** The block that an element is in, found by halving; -1 without one. */
  const find = (part: PartReader, row: Expr, wanted: Expr): Expr => {
    const { add, and, eq, int, le, lt, select } = expr
    const blockRow = expr.div(row, int(r)), from = begin(part, blockRow), to = begin(part, add(blockRow, int(1)))
    let at = from
    for (let step = 2 ** Math.floor(Math.log2(Math.max(1, Math.min(wanted.high, 2 ** 24)))); step >= 1; step /= 2) {
      const next = add(at, int(step)), inside = lt(next, to)
      at = select(and(inside, le(column(part, select(inside, next, at)), wanted)), next, at)
    }
    return select(and(lt(at, to), eq(column(part, at), wanted)), at, int(-1))
  }
  return {
    name: `${name} ${values}`, bits: store.bits + 16 / size, group: 1, values,
    ...coded(values, false, ({ offsets, columns: list, values: { data } }, [rows, columns], out) => {
      for (let b = 0, br = 0; b < offsets!.data.at(-1)!; b++) {
        while (offsets!.data[br + 1]! <= b) br++
        for (let i = 0; i < size; i++) {
          const row = br * r + Math.floor(i / c), column = list!.data[b]! * c + (i % c)
          if (row < rows && column < columns) out[row * columns + column] = data[b * size + i]!
        }
      }
    }),
    encode(matrix, [rows, columns]) {
      const down = Math.ceil(rows / r), offsets = new Int32Array(down + 1), found: number[] = [], elements: number[] = [], rowOf: number[] = []
      for (let br = 0; br < down; br++) {
        for (let bc = 0; bc < across(columns); bc++) {
          const own: number[] = []
          for (let i = br * r; i < br * r + r; i++) for (let j = bc * c; j < bc * c + c; j++) own.push(i < rows && j < columns ? matrix[i * columns + j]! : 0)
          if (own.every((v) => v === 0)) continue
          found.push(bc)
          own.forEach((v, i) => {
            elements.push(v)
            rowOf.push(Math.min(rows - 1, br * r + Math.floor(i / c)))
          })
        }
        offsets[br + 1] = found.length
      }
      const list = wide(columns) ? new Uint32Array(found.length + padding) : new Uint16Array(found.length + padding)
      list.set(found)
      return {
        offsets: { data: offsets, shape: [down + 1], dtype: "i32" }, columns: { data: list, shape: [list.length], dtype: wide(columns) ? "u32" : "u16" },
        ...store.store(Float32Array.from(elements), Uint32Array.from(rowOf), rows),
      }
    },
    storedBytes: ([rows, columns], elements) => 4 * (Math.ceil(rows / r) + 1) + (elements / size + padding) * (wide(columns) ? 4 : 2) + store.bytes(elements, rows),
    code: () => expr.int(1),
    scale(part, row, at) {
      const { add, constant, div, ge, int, mul, rem, select } = expr, number = find(part, row, div(at, int(c))), there = ge(number, int(0))
      const place = add(mul(add(mul(number, int(r)), rem(row, int(r))), int(c)), rem(at, int(c)))
      return select(there, store.value(part, row, select(there, place, int(0))), constant("f32", 0))
    },
    sparse: { block, begin, column, value: (part, row, place) => store.value(part, row, place) },
  }
}

/** Elements that blocks store of those that stay. */
export function blockElements(kept: Uint8Array, [rows, columns]: MatrixShape, [r, c]: BlockShape): number {
  let count = 0
  for (let i = 0; i < rows; i += r) for (let j = 0; j < columns; j += c) {
    let any = false
    for (let a = i; a < Math.min(rows, i + r); a++) for (let b = j; b < Math.min(columns, j + c); b++) any ||= kept[a * columns + b] === 1
    if (any) count += r * c
  }
  return count
}
