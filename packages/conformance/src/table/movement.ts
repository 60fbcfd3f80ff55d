import fc from "fast-check"
import * as t from "@thimble/core"
import { sizeOf, type DType, type Range, type Shape, type Tensor } from "@thimble/core"
import { anything, axisOfRank, every, pairs, Spec, type Gen } from "./spec.ts"
import { exact, noGradient, row, scale, type Row } from "./row.ts"

const big = (): Spec => new Spec([1024, 1024], "f32")
const moved = { types: every, values: ["plain", "special"] } as const
const constant = noGradient("has no tensor operand")

/** A tensor, and something chosen by its shape. */
const movement = <A>(call: (x: Tensor, a: A) => Tensor | readonly Tensor[], choose: (s: Shape, g: Gen) => fc.Arbitrary<A>, bench: NoInfer<A>, least = 0, accepts: (s: Shape) => boolean = () => true): Row => row<readonly [Spec, A]>({
  args: (g) => g.shape(least).filter(accepts).chain((s) => fc.tuple(g.tensor(s, moved), choose(s, g))),
  call: ([x, a]) => call(x, a as A), bound: exact, gradient: "twice", bench: [big(), bench],
})
const axes = (s: Shape): fc.Arbitrary<readonly [number, number]> => fc.tuple(axisOfRank(s.length), axisOfRank(s.length))
const nothing = (): fc.Arbitrary<null> => fc.constant(null)

/** The same number of elements in another shape, one size perhaps left open. */
const reshapes = (s: Shape): fc.Arbitrary<Shape> => {
  const n = sizeOf(s), half = s.length >> 1
  const joined = [sizeOf(s.slice(0, half)), sizeOf(s.slice(half))]
  return fc.constantFrom<Shape[]>([n], joined, [...s].reverse(), [...s, 1], [1, ...joined], ...(n > 0 ? [[-1, s.at(-1) ?? 1], [1, -1]] : []))
}
const ranges = (s: Shape): fc.Arbitrary<Range[]> => fc.array(fc.oneof(
  fc.constant<Range>(null),
  fc.tuple(fc.integer({ min: -4, max: 3 }), fc.option(fc.integer({ min: -3, max: 9 }), { nil: undefined }), fc.integer({ min: 1, max: 3 })) as fc.Arbitrary<Range>,
), { maxLength: s.length })
/** As many shapes as asked, which differ along one axis only. */
const alike = (g: Gen, types: readonly DType[] = every): fc.Arbitrary<readonly [readonly Spec[], number]> => g.shape(1, 3).chain((s) => fc.tuple(axisOfRank(s.length), fc.constantFrom(...types)).chain(([axis, dtype]) => fc.tuple(
  fc.array(fc.constantFrom(1, 2, 3, ...(g.gradient ? [] : [0])), { minLength: 1, maxLength: 4 }).chain((sizes) => fc.tuple(...sizes.map((n) => g.tensor(s.with(axis, n), { ...moved, types: [dtype] })))),
  fc.constant(axis),
)))

export const moves = {
  reshape: movement(t.reshape, reshapes, [1, -1]),
  permute: movement((x, order: readonly number[] | undefined) => t.permute(x, order), (s) => fc.oneof(fc.constant(undefined), fc.shuffledSubarray(s.map((_, i) => i), { minLength: s.length }).map((o) => o.map((a, i) => (i % 2 ? a - s.length : a)))), [1, 0]),
  transpose: movement((x, [a, b]: readonly [number, number]) => t.transpose(x, a, b), axes, [0, 1], 2),
  moveAxis: movement((x, [a, b]: readonly [number, number]) => t.moveAxis(x, a, b), axes, [0, 1], 1),
  flattenAxes: movement((x, a: number) => t.flattenAxes(x, a), (s) => (s.length === 0 ? fc.constant(0) : axisOfRank(s.length)), 0),
  unsqueeze: movement(t.unsqueeze, (s) => axisOfRank(s.length + 1), 0),
  squeeze: movement((x, a: number | undefined) => t.squeeze(x, a), (s) => (s.length === 0 ? fc.constant(undefined) : fc.option(axisOfRank(s.length), { nil: undefined })), undefined),
  expand: movement((x, more: Shape) => t.expand(t.unsqueeze(x, 0), [...more, ...x.shape.map(() => -1)]), (_, g) => fc.tuple(g.size(2, 1, 3)), [4]),
  broadcastTo: movement((x, more: Shape) => t.broadcastTo(x, [...more, ...x.shape]), (_, g) => fc.tuple(g.size(2, 1, 3)), [4]),
  sumTo: row({
    args: (g) => pairs(g).filter(([a, b]) => String(t.broadcastShapes("sumTo", a, b)) === String(a)).chain(([a, b]) => fc.tuple(g.tensor(a, { values: ["plain", "special"] }), fc.constant(b))),
    call: ([x, s]) => t.sumTo(x, s), bound: scale(2e-6), gradient: "twice", bench: [big(), [1024]],
  }),
  flip: movement((x, a: readonly number[]) => t.flip(x, a), (s) => fc.subarray(s.map((_, i) => i - s.length)), [1]),
  roll: movement((x, [shift, axis]: readonly [number, number | undefined]) => t.roll(x, shift, axis), (s) => fc.tuple(fc.integer({ min: -7, max: 7 }), s.length === 0 ? fc.constant(undefined) : fc.option(axisOfRank(s.length), { nil: undefined })), [3, 1]),
  repeat: movement(t.repeat, (s) => fc.array(fc.constantFrom(1, 2, 3), { minLength: s.length, maxLength: s.length + 1 }), [2, 2], 0, (s) => sizeOf(s) < 40),
  repeatInterleave: movement((x, [n, axis]: readonly [number, number | undefined]) => t.repeatInterleave(x, n, axis), (s, g) => fc.tuple(g.size(2, 1, 3), s.length === 0 ? fc.constant(undefined) : fc.option(axisOfRank(s.length), { nil: undefined })), [2, 1]),
  slice: movement((x, r: readonly Range[]) => t.slice(x, ...r), ranges, [[1, -1], [0, 1024, 2]]),
  narrow: movement((x, [axis, share, length]: readonly [number, number, number]) => {
    const n = x.shape.at(axis)!, m = Math.min(length, n)
    return t.narrow(x, axis, Math.floor(share * (n - m)), m)
  }, (s) => fc.tuple(axisOfRank(s.length), fc.constantFrom(0, 0.5, 1), fc.nat(5)), [0, 0.5, 100], 1),
  selectAt: movement((x, [axis, at]: readonly [number, number]) => t.selectAt(x, axis, at), (s) => fc.tuple(axisOfRank(s.length), fc.constantFrom(0, -1)), [0, -1], 1, (s) => !s.includes(0)),
  place: movement((x, [start, step]: readonly [number, number]) => t.place(x, x.shape.map((n) => start + n * step + 2), x.shape.map(() => start), x.shape.map(() => step)), () => fc.tuple(fc.nat(2), fc.integer({ min: 1, max: 3 })), [1, 1], 0, (s) => s.length < 3),
  pad: movement((x, [amounts, mode]: readonly [readonly (readonly [number, number])[], NonNullable<t.PadOptions["mode"]>]) =>
    // Other modes mirror what is there.
    t.pad(x, mode === "constant" ? amounts : amounts.map((p, i) => p.map((n) => Math.min(Math.max(n, 0), Math.max(x.shape[x.rank - amounts.length + i]! - 1, 0))) as [number, number]), { mode, value: x.dtype === "bool" ? 0 : 2 }),
  (s) => fc.tuple(fc.array(fc.tuple(fc.integer({ min: -1, max: 3 }), fc.nat(2)), { maxLength: s.length }), fc.constantFrom("constant", "reflect", "replicate", "circular")), [[[1, 1], [1, 1]], "constant"], 0, (s) => !s.includes(0)),
  cat: row({ args: (g) => alike(g), call: ([xs, axis]) => t.cat(xs, axis), bound: exact, gradient: "twice", bench: [[big(), big()], 1] }),
  stack: row({
    args: (g) => g.shape(0, 3).chain((s) => fc.constantFrom(...every).chain((d) => fc.tuple(fc.array(g.tensor(s, { ...moved, types: [d] }), { minLength: 1, maxLength: 3 }), axisOfRank(s.length + 1)))),
    call: ([xs, axis]) => t.stack(xs, axis), bound: exact, gradient: "twice", bench: [[big(), big()], 0],
  }),
  split: movement((x, [size, axis]: readonly [number, number]) => t.split(x, size, axis), (s) => fc.tuple(fc.integer({ min: 1, max: 4 }), axisOfRank(s.length)), [256, 0], 1),
  splitSizes: movement((x, [first, axis]: readonly [number, number]) => {
    const n = x.shape.at(axis)!, a = Math.min(first, n)
    return t.splitSizes(x, [a, n - a], axis)
  }, (s) => fc.tuple(fc.nat(4), axisOfRank(s.length)), [256, 0], 1),
  chunk: movement((x, [count, axis]: readonly [number, number]) => t.chunk(x, count, axis), (s) => fc.tuple(fc.integer({ min: 1, max: 4 }), axisOfRank(s.length)), [4, 0], 1),
  meshgrid: row({
    args: (g) => fc.tuple(fc.array(g.size(3, 1, 4).chain((n) => g.tensor([n], moved)), { minLength: 1, maxLength: 3 }), fc.constantFrom("ij", "xy")),
    call: ([xs, how]) => t.meshgrid(xs, how as "ij"), bound: exact, gradient: "twice", bench: [[new Spec([1024], "f32"), new Spec([1024], "f32")], "ij"],
  }),
  diagonal: movement((x, offset: number) => t.diagonal(x, offset, 0, -1), () => fc.integer({ min: -3, max: 3 }), 0, 2),
  trace: row({
    args: (g) => g.shape(2, 3).chain((s) => fc.tuple(g.tensor(s, { types: every, values: ["plain", "ties"] }))),
    call: ([x]) => t.trace(x), bound: scale(2e-6), gradient: "twice", bench: [big()],
  }),
  diag: movement((x, offset: number) => t.diag(x, offset), () => fc.integer({ min: -2, max: 2 }), 0, 1, (s) => s.length <= 2 && sizeOf(s) < 40),
  tril: movement((x, k: number) => t.tril(x, k), () => fc.integer({ min: -3, max: 3 }), 0, 2),
  triu: movement((x, k: number) => t.triu(x, k), () => fc.integer({ min: -3, max: 3 }), 0, 2),
  unfold: movement((x, [axis, size, step]: readonly [number, number, number]) => t.unfold(x, axis, Math.min(size, x.shape.at(axis)!), step), (s) => fc.tuple(axisOfRank(s.length), fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 2 })), [1, 3, 2], 1, (s) => !s.includes(0)),
  zerosLike: movement((x) => t.zerosLike(x), nothing, null), onesLike: movement((x) => t.onesLike(x), nothing, null),
} satisfies Record<string, Row>

const made = <A>(call: (a: A) => Tensor, args: fc.Arbitrary<A>, bench: NoInfer<A>): Row =>
  row<readonly [A]>({ args: () => fc.tuple(args), call: ([a]) => call(a as A), bound: exact, gradient: constant, bench: [bench] })
const dtype = fc.constantFrom(...every)
const step = fc.constantFrom(1, 2, -1, 0.5, -0.3)

export const create = {
  tensor: made(([list, d]: readonly [readonly (readonly number[])[], DType]) => t.tensor(list as number[][], { dtype: d }), fc.tuple(fc.constantFrom<number[][]>([[1, 2], [3, 4]], [[], []], [[-1, 0.5, 300, NaN]]), dtype), [[[1, 2]], "f32"]),
  fromBytes: made(([n, d]: readonly [number, DType]) => t.fromBytes(new Uint8Array(n * t.bytesOf(d)).map((_, i) => (d === "bool" ? i & 1 : i * 37)), [n], d), fc.tuple(fc.nat(20), fc.constantFrom(...every.filter((d) => d !== "f64"))), [1024, "f32"]),
  full: made(([s, v, d]: readonly [Shape, number, DType]) => t.full(s, v, d), fc.tuple(anything.shape(), fc.constantFrom(0, 1, -2.5, 300, NaN), dtype), [[1024, 1024], 1, "f32"]),
  zeros: made(([s, d]: readonly [Shape, DType]) => t.zeros(s, d), fc.tuple(anything.shape(), dtype), [[1024, 1024], "f32"]),
  ones: made(([s, d]: readonly [Shape, DType]) => t.ones(s, d), fc.tuple(anything.shape(), dtype), [[1024, 1024], "f32"]),
  arange: made(([from, to, by, d]: readonly [number, number, number, DType]) => t.arange(from, to, by, d), fc.tuple(fc.integer({ min: -5, max: 5 }), fc.integer({ min: -9, max: 9 }), step, dtype.filter((d) => d !== "bool")), [0, 1e6, 1, "f32"]),
  linspace: made(([from, to, n, d]: readonly [number, number, number, DType]) => t.linspace(from, to, n, d), fc.tuple(fc.integer({ min: -5, max: 5 }), fc.integer({ min: -9, max: 9 }), fc.nat(9), fc.constantFrom<DType>("f32", "f64", "f16")), [0, 1, 1e6, "f32"]),
} satisfies Record<string, Row>
