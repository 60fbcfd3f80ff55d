import fc from "fast-check"
import * as t from "@thimble/core"
import { expr, type Format, type Part } from "@thimble/core"
import { noGradient, row, scale, type Row } from "./row.ts"
import { Spec } from "./spec.ts"

/** The place of each element among those that are stored, −1 without one: decoding needs nothing else, products do not look at it. */
const decoded: Pick<Format, "bits" | "group" | "code" | "scale"> = {
  bits: 64, group: 1,
  code: () => expr.int(1),
  scale(part, r, c) {
    const { constant, ge, int, select } = expr, place = part("places", r, c), there = ge(place, int(0))
    return select(there, part("values", select(there, place, int(0))), constant("f32", 0))
  },
}
const part = (data: Int32Array | Float32Array | Uint32Array, shape: readonly number[], dtype: Part["dtype"]): Part => ({ data, shape, dtype })
/** Room behind the last element, as products want it. */
const room = 4

/** Blocks of r × c that are not all zero, row after row of blocks. */
const listed = (r: number, c: number): Format => ({
  name: `blocks of ${r}x${c}`, ...decoded,
  encode(w, [rows, columns]) {
    const down = Math.ceil(rows / r), across = Math.ceil(columns / c), begins = new Int32Array(down + 1), list: number[] = [], values: number[] = [], places = new Int32Array(rows * columns).fill(-1)
    for (let b = 0; b < down * across; b++) {
      const [y, x] = [Math.floor(b / across) * r, (b % across) * c], own = Array.from({ length: r * c }, (_, i) => [y + Math.floor(i / c), x + (i % c)] as const)
      const elements = own.map(([i, j]) => (i < rows && j < columns ? w[i * columns + j]! : 0))
      if (elements.every((v) => v === 0)) continue
      own.forEach(([i, j], at) => i < rows && j < columns && (places[i * columns + j] = values.length + at))
      list.push(b % across)
      values.push(...elements)
      begins.fill(list.length, Math.floor(b / across) + 1)
    }
    return {
      places: part(places, [rows, columns], "i32"), begins: part(begins, [down + 1], "i32"),
      list: part(Int32Array.from([...list, ...new Array<number>(room).fill(0)]), [list.length + room], "i32"), values: part(Float32Array.from([...values, ...new Array<number>(room).fill(0)]), [values.length + room], "f32"),
    }
  },
  sparse: { block: [r, c], begin: (read, at) => read("begins", at), column: (read, b) => read("list", b), value: (read, _row, place) => read("values", place) },
})

/** A bit for each element, and what is not zero; `ofFour` of each four neighbours, zeros among them where there are fewer. */
const masked = (ofFour?: number): Format => ({
  name: ofFour === undefined ? "bits" : `${ofFour} of four`, ...decoded,
  encode(w, [rows, columns]) {
    const words = Math.ceil(columns / 32), bits = new Uint32Array(rows * words), begins = new Int32Array(rows), values: number[] = [], places = new Int32Array(rows * columns).fill(-1)
    for (let i = 0, spare = 0; i < rows * columns; i++) {
      const [y, x] = [Math.floor(i / columns), i % columns]
      if (x === 0) begins[y] = values.length
      if (ofFour !== undefined && x % 4 === 0) spare = ofFour - w.subarray(i, i + 4).reduce((n, v) => n + Number(v !== 0), 0)
      if (w[i] === 0 && (ofFour === undefined || spare-- <= 0)) continue
      bits[y * words + (x >> 5)]! |= 1 << (x & 31)
      places[i] = values.length
      values.push(w[i]!)
    }
    return { places: part(places, [rows, columns], "i32"), bits: part(bits, [rows, words], "u32"), begins: part(begins, [rows], "i32"), values: part(Float32Array.from([...values, ...new Array<number>(room).fill(0)]), [values.length + room], "f32") }
  },
  sparse: { ...(ofFour !== undefined && { ofFour }), begin: (read, r) => read("begins", r), mask: (read, r, word) => read("bits", r, word), value: (read, _row, place) => read("values", place) },
})

const formats = { list: listed(1, 1), "blocks 4x4": listed(4, 4), "blocks 2x8": listed(2, 8), "blocks 3x2": listed(3, 2), bits: masked(), "2 of four": masked(2), "1 of four": masked(1) }

/** x [..., k] · Wᵀ, for W of which few elements are there: one or two of each eight neighbours, whole rows without any. */
function product(x: t.Tensor, name: keyof typeof formats, shape: readonly [number, number]): t.Tensor {
  const [rows, columns] = shape, format = formats[name], most = name === "1 of four" ? 1 : 2
  const w = Float32Array.from({ length: rows * columns }, (_, i) => (Math.floor(i / columns) % 4 !== 3 && (i % 4 === Math.floor(i / 28) % 4 || (most === 2 && i % 8 === 5)) ? Math.sin(i * 12.9898) : 0)), parts = t.uploadParts(format.encode(w, shape))
  return t.sparseMatmul(x, Object.values(parts), { format, shape, names: Object.keys(parts) })
}

export const sparse = {
  sparseMatmul: row({
    args: (g) => fc.tuple(g.size(1, 2, 9), fc.constantFrom<keyof typeof formats>("list", "blocks 4x4", "blocks 2x8", "blocks 3x2", "bits", "2 of four", "1 of four"), fc.constantFrom<number>(8, 24, 32, 40, 96), fc.constantFrom<number>(1, 5, 33), fc.boolean()).chain(([m, format, k, n, batched]) =>
      fc.tuple(g.tensor(batched ? [2, m, k] : [m, k], { types: ["f32", "f32", "f16"], values: ["plain"] }), fc.constant(format), fc.constant([n, k] as const))),
    // What is not stored adds nothing, so an infinite x differs from its expansion: values are finite.
    call: ([x, format, shape]) => product(x, format, shape as [number, number]), bound: scale(2e-5), gradient: noGradient("x counts as f32, which is too coarse for differences"),
    bench: [new Spec([1, 1024], "f32"), "list", [1024, 1024]],
    corners: (["list", "blocks 4x4", "blocks 2x8", "blocks 3x2", "bits", "2 of four", "1 of four"] as const).map((format) => [new Spec([3, 72], "f32", { seed: 7 }), format, [35, 72]] as const),
  }),
} satisfies Record<string, Row>
