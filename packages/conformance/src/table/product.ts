import fc from "fast-check"
import * as t from "@thimble/core"
import { expr, f16Bits, roundHalfEven, type DType, type Format, type Shape } from "@thimble/core"
import { factors } from "./corners.ts"
import { floats, Spec, type Gen } from "./spec.ts"
import { noGradient, row, scale, type Row } from "./row.ts"

const big = (...shape: number[]): Spec => new Spec(shape, "f32")
/** What products take; values with few specials, so that some results are numbers. */
const types: readonly DType[] = [...floats, "f32", "i32", "i8", "u8", "u32", "i16"]
const factor = (g: Gen, shape: Shape, own: readonly DType[] = types) => g.tensor(shape, { types: own, values: ["plain", "plain", "ties"] })
const near = scale(2e-5)
const sizes = (g: Gen): fc.Arbitrary<number> => g.size(3, 1, 4, 8, 17, ...(g.gradient ? [] : [33]))

/** Batch shapes and m, k, n; vectors where an axis is left out. */
const operands = (g: Gen): fc.Arbitrary<readonly [Spec, Spec]> => fc.tuple(sizes(g), sizes(g), sizes(g), fc.constantFrom<readonly [Shape, Shape]>([[], []], [[2], [2]], [[2, 1], [3]], [[3], []], [[], [2]]), fc.nat(5)).chain(([m, k, n, [x, y], vectors]) =>
  fc.tuple(factor(g, vectors === 4 ? [k] : [...x, m, k]), factor(g, vectors === 5 ? [k] : [...y, k, n])))

/** int4 in groups of 8, two codes to a byte with their halves apart, an f16 scale and an f32 minimum each: every piece that a format may state. */
export const nibbles: Format = {
  name: "nibbles", bits: 10, group: 8,
  encode(values, [rows, columns]) {
    const groups = Math.ceil(columns / 8)
    const codes = new Uint8Array(rows * groups * 4), scales = new Uint16Array(rows * groups), mins = new Float32Array(rows * groups)
    for (let r = 0; r < rows; r++) for (let g = 0; g < groups; g++) {
      const part = values.subarray(r * columns + g * 8, r * columns + Math.min(g * 8 + 8, columns))
      const low = Math.min(...part), step = Math.fround((Math.max(...part) - low) / 15)
      const bits = f16Bits(step), rate = t.f16Value(bits)
      scales[r * groups + g] = bits
      mins[r * groups + g] = low
      part.forEach((v, i) => { codes[(r * groups + g) * 4 + (i & 3)]! |= (rate === 0 ? 0 : Math.min(15, Math.max(0, roundHalfEven((v - low) / rate)))) << (i & 4) })
    }
    return { codes: { data: codes, shape: [rows, groups * 4], dtype: "u8" }, scales: { data: scales, shape: [rows, groups], dtype: "f16" }, mins: { data: mins, shape: [rows, groups], dtype: "f32" } }
  },
  code(part, r, c) {
    const { add, and, cast, div, int, mul, rem, shr } = expr
    const byte = part("codes", r, add(mul(div(c, int(8)), int(4)), rem(c, int(4))))
    return and(shr(cast(byte, "i32"), mul(rem(div(c, int(4)), int(2)), int(4))), int(15))
  },
  scale: (part, r, c) => part("scales", r, expr.div(c, expr.int(8))),
  min: (part, r, c) => part("mins", r, expr.div(c, expr.int(8))),
}
/** The same in groups of 32 without a minimum, which integer kernels take. */
export const bytes: Format = {
  name: "bytes", bits: 8.5, group: 32,
  encode(values, [rows, columns]) {
    const groups = Math.ceil(columns / 32)
    const codes = new Int8Array(rows * columns), scales = new Uint16Array(rows * groups)
    for (let r = 0; r < rows; r++) for (let g = 0; g < groups; g++) {
      const from = r * columns + g * 32, part = values.subarray(from, Math.min(from + 32, (r + 1) * columns))
      const bits = f16Bits(part.reduce((m, v) => Math.max(m, Math.abs(v)), 0) / 127), rate = t.f16Value(bits)
      scales[r * groups + g] = bits
      part.forEach((v, i) => (codes[from + i] = rate === 0 ? 0 : Math.max(-127, Math.min(127, roundHalfEven(v / rate)))))
    }
    return { codes: { data: codes, shape: [rows, columns], dtype: "i8" }, scales: { data: scales, shape: [rows, groups], dtype: "f16" } }
  },
  code: (part, r, c) => part("codes", r, c),
  scale: (part, r, c) => part("scales", r, expr.div(c, expr.int(32))),
}
export const formats = { nibbles, bytes }

/** Values −1 … 1 that a seed gives, stored in a format. */
export function stored(format: Format, shape: readonly [number, number], activations: t.Activations = "int8"): t.Weight {
  return t.quantizeWeight(format, Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => Math.sin(i * 12.9898) * 0.9), shape, { activations })
}
/** Ways to round activations: in groups, by rows, on a grid whose ends some pass, and on one with a zero point. */
const ways: readonly t.Activations[] = ["int8", "int8PerToken", { scale: 2 ** -6 }, { scale: 0.02, zero: -7 }]

export const products = {
  matmul: row({
    args: operands,
    call: ([a, b]) => t.matmul(a, b), bound: near, gradient: "twice", bench: [big(512, 512), big(512, 512)], corners: factors,
  }),
  linear: row({
    args: (g) => fc.tuple(g.shape(0, 2), sizes(g), sizes(g)).chain(([batch, k, n]) => fc.tuple(factor(g, [...batch, k], floats), factor(g, [n, k], floats), fc.option(factor(g, [n], floats), { nil: undefined }))),
    call: ([x, w, b]) => t.linear(x, w, b), bound: near, gradient: "twice", bench: [big(512, 512), big(512, 512), big(512)],
    corners: factors.map(([x, { values, shape: [k, n] }]) => [x, new Spec([n!, k!], "f32", { values, seed: k! }), undefined] as const),
  }),
  bmm: row({
    args: (g) => fc.tuple(g.size(2, 1, 3), sizes(g), sizes(g), sizes(g)).chain(([b, m, k, n]) => fc.tuple(factor(g, [b, m, k]), factor(g, [b, k, n]))),
    call: ([a, b]) => t.bmm(a, b), bound: near, gradient: "twice", bench: [big(8, 256, 256), big(8, 256, 256)],
  }),
  addmm: row({
    args: (g) => fc.tuple(sizes(g), sizes(g), sizes(g)).chain(([m, k, n]) => fc.tuple(factor(g, [n], floats), factor(g, [m, k], floats), factor(g, [k, n], floats), fc.constantFrom<t.AddmmOptions>({}, { alpha: 2, beta: -0.5 }, { beta: 0 }))),
    call: ([c, a, b, o]) => t.addmm(c, a, b, o), bound: near, gradient: "twice", bench: [big(512), big(512, 512), big(512, 512), {}],
  }),
  outer: row({
    args: (g) => fc.tuple(sizes(g), sizes(g)).chain(([m, n]) => fc.tuple(factor(g, [m]), factor(g, [n]))),
    call: ([a, b]) => t.outer(a, b), bound: near, gradient: "twice", bench: [big(1024), big(1024)],
  }),
  dot: row({
    args: (g) => sizes(g).chain((k) => fc.tuple(factor(g, [k]), factor(g, [k]))),
    call: ([a, b]) => t.dot(a, b), bound: near, gradient: "twice", bench: [big(65536), big(65536)],
  }),
  einsum: row({
    args: (g) => fc.constantFrom<readonly [string, ...Shape[]]>(
      ["ij,jk->ik", [3, 4], [4, 5]], ["bij,bjk->bik", [2, 3, 4], [2, 4, 3]], ["bhqd,bhkd->bhqk", [2, 2, 3, 4], [2, 2, 5, 4]], ["ii->i", [4, 4]], ["ii", [3, 3]], ["ij->", [3, 4]],
      ["...ij,jk", [2, 3, 4], [4, 2]], ["ij,ij->j", [3, 4], [3, 4]], ["a,b,c->abc", [2], [3], [4]], ["ij,jk,kl->il", [2, 3], [3, 4], [4, 2]], ["bn,b->n", [3, 4], [1]],
    ).chain(([equation, ...shapes]) => fc.tuple(fc.constant(equation), fc.tuple(...shapes.map((s) => factor(g, s, floats))))),
    call: ([equation, xs]) => t.einsum(equation, ...xs), bound: near, gradient: "twice", bench: ["bij,bjk->bik", [big(8, 256, 256), big(8, 256, 256)]],
  }),
  quantizedMatmul: row({
    args: (g) => fc.constantFrom<keyof typeof formats>("bytes", "nibbles").chain((format) => fc.tuple(g.size(1, 4, 9), fc.constantFrom<number>(8, 20, 32, 64, 96), fc.constantFrom<number>(1, 5, 33)).chain(([m, k, n]) =>
      fc.tuple(g.tensor([m, k], { types: ["f32", "f16"], values: ["plain"] }), fc.constant(format), fc.constant([n, k] as const), fc.nat(ways.length - 1)))),
    call: ([x, format, shape, way]) => stored(formats[format], shape as [number, number], ways[way]).apply(x), bound: near, gradient: noGradient("its rounding of x counts as the identity"),
    bench: [big(1, 4096), "bytes", [4096, 4096], 0],
  }),
  roundActivations: row({
    args: (g) => fc.tuple(g.size(2, 1), g.size(32, 1, 40, 64)).chain(([m, k]) => fc.tuple(g.tensor([m, k], { types: ["f32"], values: ["plain"] }), fc.constantFrom<t.ActivationGrid | undefined>(undefined, { scale: 2 ** -6 }, { scale: 0.02, zero: -7 }))),
    call: ([x, grid]) => t.roundActivations(x, grid as t.ActivationGrid | undefined), bound: scale(1e-6), gradient: noGradient("constant between its steps"), bench: [big(64, 4096), undefined],
  }),
  activationScales: row({
    args: (g) => fc.tuple(g.size(2, 1), g.size(32, 1, 40)).filter(([, k]) => k > 0).chain(([m, k]) => fc.tuple(g.tensor([m, k], { types: ["f32", "f16"], values: ["plain"], distinct: true }))),
    call: ([x]) => t.activationScales(x), bound: scale(1e-6), gradient: noGradient("only the largest of a row has a part in it"), bench: [big(64, 4096)],
  }),
} satisfies Record<string, Row>
