import fc from "fast-check"
import * as t from "@thimble/core"
import { sizeOf, type DType, type Shape } from "@thimble/core"
import { axisOfRank, every, integers, numbers, Spec, type Gen } from "./spec.ts"
import { exact, noGradient, row, scale, type Row } from "./row.ts"

const big = (): Spec => new Spec([1024, 1024], "f32")
const ids = (shape: Shape, below: number): Spec => new Spec(shape, "i32", { domain: { low: 0, high: below - 1 } })
const logic = noGradient("the result is no float")
const moved = { types: every, values: ["plain", "special"] } as const

/** Indices below `n` (any size above 0), of any integer type. */
const index = (g: Gen, shape: Shape, n: number, low = 0): fc.Arbitrary<Spec> =>
  g.tensor(shape, { types: low < 0 ? ["i32", "i16", "i8"] : integers, values: ["plain"], domain: { low, high: n - 1 } })
const some = (g: Gen, least = 1): fc.Arbitrary<Shape> => g.shape(least, 3).filter((s) => !s.includes(0) && sizeOf(s) < 200)
/** A tensor of a type, an axis, and indices along it, of a size of their own. */
const alongAxis = <A>(g: Gen, make: (s: Shape, axis: number, index: Shape) => fc.Arbitrary<A>): fc.Arbitrary<A> =>
  some(g).chain((s) => fc.tuple(axisOfRank(s.length), g.size(3, 1, 5)).chain(([axis, n]) => make(s, axis, s.with(axis, n))))
const typed = <A>(types: readonly DType[], make: (type: { types: readonly DType[]; values: readonly ["plain"] }) => fc.Arbitrary<A>): fc.Arbitrary<A> => fc.constantFrom(...types).chain((d) => make({ types: [d], values: ["plain"] }))

export const indexing = {
  gather: row({
    args: (g) => alongAxis(g, (s, axis, i) => fc.tuple(g.tensor(s, moved), fc.constant(axis), index(g, i, s.at(axis)!))),
    call: ([x, axis, i]) => t.gather(x, axis, i), bound: exact, gradient: "twice", bench: [big(), 1, ids([1024, 1024], 1024)],
  }),
  take: row({
    args: (g) => some(g).chain((s) => fc.tuple(axisOfRank(s.length), g.shape(0, 2)).chain(([axis, i]) => fc.tuple(g.tensor(s, moved), index(g, i, s.at(axis)!), fc.constant(axis)))),
    call: ([x, i, axis]) => t.take(x, i, axis), bound: exact, gradient: "twice", bench: [big(), ids([1024], 1024), 0],
  }),
  takeAlong: row({
    args: (g) => alongAxis(g, (s, axis, i) => fc.tuple(g.tensor(s, moved), index(g, i.map((n, k) => (k === (axis + s.length) % s.length ? n : k % 2 ? 1 : n)), s.at(axis)!), fc.constant(axis))),
    call: ([x, i, axis]) => t.takeAlong(x, i, axis), bound: exact, gradient: "twice", bench: [big(), ids([1, 1024], 1024), 1],
  }),
  indexTensor: row({
    args: (g) => some(g, 2).chain((s) => g.shape(0, 2).chain((i) => fc.tuple(g.tensor(s, moved), index(g, i, s[0]!, -s[0]!), index(g, i.slice(-1), s.at(-1)!, -s.at(-1)!)))),
    call: ([x, i, j]) => t.indexTensor(x, [i, ...new Array<null>(x.rank - 2).fill(null), j]), bound: exact, gradient: "twice", bench: [big(), ids([1024], 1024), ids([1024], 1024)],
  }),
  scatterAdd: row({
    args: (g) => typed(numbers, (type) => alongAxis(g, (_s, axis, i) => fc.tuple(g.tensor(i, type), index(g, i, 5), fc.constant(axis)))),
    call: ([x, i, axis]) => t.scatterAdd(x, i, axis, 5), bound: scale(4e-6), gradient: "twice", bench: [big(), ids([1024, 1024], 5), 0],
  }),
  scatter: row({
    args: (g) => typed(every, (type) => alongAxis(g, (s, axis, i) => fc.tuple(g.tensor(s, type), fc.constant(axis), index(g, i, s.at(axis)!), g.tensor(i, type)))),
    call: ([x, axis, i, src]) => t.scatter(x, axis, i, src), bound: exact, gradient: "twice", bench: [big(), 1, ids([1024, 256], 1024), new Spec([1024, 256], "f32")],
  }),
  scatterAddTo: row({
    args: (g) => typed(numbers, (type) => alongAxis(g, (s, axis, i) => fc.tuple(g.tensor(s, type), fc.constant(axis), index(g, i, s.at(axis)!), g.tensor(i, type)))),
    call: ([x, axis, i, src]) => t.scatterAddTo(x, axis, i, src), bound: scale(4e-6), gradient: "twice", bench: [big(), 1, ids([1024, 256], 1024), new Spec([1024, 256], "f32")],
  }),
  updateSlice: row({
    args: (g) => typed(every, (type) => some(g).chain((s) => fc.tuple(fc.nat(s.length - 1), fc.nat(s.length), fc.nat(99), fc.nat(99)).chain(([axis, rank, n, from]) => {
      const length = n % (s[axis]! + 1), room = s[axis]! - length
      return fc.tuple(g.tensor(s, type), g.tensor(s.with(axis, length), type), fc.constantFrom(axis, axis - s.length), rank > axis ? fc.constant(from % (room + 1)) : index(g, s.slice(0, rank), room + 1))
    }))),
    call: ([x, values, axis, start]) => t.updateSlice(x, values, { axis, start }), bound: exact, gradient: "twice", bench: [big(), new Spec([1024, 1], "f32"), 1, 17],
  }),
  sliceAt: row({
    args: (g) => typed(every, (type) => some(g).chain((s) => fc.tuple(fc.nat(s.length - 1), fc.nat(s.length), fc.nat(99), fc.nat(99)).chain(([axis, rank, n, from]) => {
      const length = n % (s[axis]! + 1), room = s[axis]! - length
      return fc.tuple(g.tensor(s, type), fc.constantFrom(axis, axis - s.length), rank > axis ? fc.constant(from % (room + 1)) : index(g, s.slice(0, rank), room + 1), fc.constant(length))
    }))),
    call: ([x, axis, start, length]) => t.sliceAt(x, { axis, start, length }), bound: exact, gradient: "twice", bench: [big(), 1, 17, 512],
  }),
  indexAdd: row({
    args: (g) => typed(numbers, (type) => alongAxis(g, (s, axis, i) => fc.tuple(g.tensor(s, type), fc.constant(axis), index(g, [i.at(axis)!], s.at(axis)!), g.tensor(i, type)))),
    call: ([x, axis, i, src]) => t.indexAdd(x, axis, i, src), bound: scale(4e-6), gradient: "twice", bench: [big(), 0, ids([256], 1024), new Spec([256, 1024], "f32")],
  }),
  maskedFill: row({
    args: (g) => g.shape().chain((s) => fc.tuple(g.tensor(s, { ...moved, types: numbers }), g.tensor(s.slice(-1), { types: ["bool"] }), fc.constantFrom(0, 7))),
    call: ([x, mask, v]) => t.maskedFill(x, mask, v), bound: exact, gradient: "twice", bench: [big(), new Spec([1024], "bool"), 0],
  }),
  oneHot: row({
    args: (g) => g.shape(0, 3).chain((s) => fc.tuple(index(g, s, 4), fc.constantFrom<DType>("i32", "f32", "bool", "u8"))),
    call: ([i, d]) => t.oneHot(i, 4, d), bound: exact, gradient: logic, bench: [ids([1024, 64], 4), "f32"],
  }),
  embedding: row({
    args: (g) => g.shape(0, 2).chain((s) => fc.tuple(g.tensor([6, 5]), index(g, s, 6), fc.constantFrom<t.EmbeddingOptions>({}, ...(g.gradient ? [] : [{ paddingIndex: 2 }, { paddingIndex: -1 }])))),
    call: ([w, i, o]) => t.embedding(w, i, o), bound: exact, gradient: "twice", bench: [new Spec([8192, 512], "f32"), ids([512], 8192), {}],
  }),
  nonzero: row({ args: (g) => g.shape(0, 3).chain((s) => fc.tuple(g.tensor(s, { types: every, values: ["ties"] }))), call: ([x]) => t.nonzero(x), bound: exact, gradient: logic, bench: [big()] }),
  maskedSelect: row({
    args: (g) => g.shape(0, 3).chain((s) => fc.tuple(g.tensor(s, moved), g.tensor(s.slice(-1), { types: ["bool"] }))),
    call: ([x, mask]) => t.maskedSelect(x, mask), bound: exact, gradient: "twice", bench: [big(), new Spec([1024], "bool")],
  }),
} satisfies Record<string, Row>
