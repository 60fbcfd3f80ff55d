import fc from "fast-check"
import * as t from "@thimble/core"
import type { Shape } from "@thimble/core"
import { lines } from "./corners.ts"
import { axisOfRank, floats, Spec, type Gen, type Values } from "./spec.ts"
import { noGradient, row, scale, type Row } from "./row.ts"

const big = (...shape: number[]): Spec => new Spec(shape, "f32")
const values: readonly Values[] = ["plain", "plain", "ties"]
const calm = { values } as const
const near = scale(2e-5)
/** Norms divide by the spread of their operands: where all are equal, only eps keeps rounding errors small. */
const spread = { eps: 0.01 } as const
const spreadOut = { values: ["plain"], distinct: true } as const
const corners = lines(["f32"]).flatMap(([x, axis]) => (axis === undefined ? [] : [[x, axis] as const]))
/** A tensor or nothing. */
const maybe = (g: Gen, shape: Shape): fc.Arbitrary<Spec | undefined> => fc.option(g.tensor(shape, { values: ["plain"], types: ["f32", "f16"] }), { nil: undefined })
const even = (g: Gen): fc.Arbitrary<number> => g.size(2, 1, 3)

const convolved = (g: Gen, rank: number, transposed = false) => fc.record({
  stride: fc.constantFrom<number>(1, 2), padding: fc.constantFrom<number>(0, 1), dilation: fc.constantFrom<number>(1, 2), groups: fc.constantFrom<number>(1, 2),
}).chain((o) => fc.tuple(even(g), fc.constantFrom(1, 3, 2), fc.constantFrom(5, 7)).chain(([n, kernel, size]) => {
  const c = 2 * o.groups, out = 4
  const side = new Array<number>(rank).fill(size), window = new Array<number>(rank).fill(rank === 3 ? Math.min(kernel, 2) : kernel)
  const weight = transposed ? [c, out / o.groups, ...window] : [out, c / o.groups, ...window]
  return fc.tuple(g.tensor(rank === 3 ? [1, c, 5, 4, 5] : [n, c, ...side], calm), g.tensor(weight, calm), maybe(g, [out]), fc.constant(o))
}))
const image = (g: Gen): fc.Arbitrary<Shape> => fc.tuple(g.size(1, 2), fc.constantFrom(1, 3), fc.constantFrom(4, 6), fc.constantFrom(5, 7))
const heads = (g: Gen) => fc.record({ batch: g.size(1, 2), kv: fc.constantFrom(1, 2), share: fc.constantFrom(1, 2), tq: fc.constantFrom(1, 4, 5), tk: fc.constantFrom(5, 7), d: fc.constantFrom(4, 3, 8), dv: fc.constantFrom(4, 5) })

export const network = {
  softmax: row({
    args: (g) => g.shape(1, 4).chain((s) => fc.tuple(g.tensor(s), axisOfRank(s.length))),
    call: ([x, axis]) => t.softmax(x, axis), bound: scale(2e-6), gradient: "twice", bench: [big(1024, 1024), -1], corners,
  }),
  logSoftmax: row({
    args: (g) => g.shape(1, 4).chain((s) => fc.tuple(g.tensor(s), axisOfRank(s.length))),
    call: ([x, axis]) => t.logSoftmax(x, axis), bound: scale(4e-6), gradient: "twice", bench: [big(1024, 1024), -1], corners,
  }),
  layerNorm: row({
    args: (g) => g.shape(1, 3).filter((s) => s.at(-1)! > 2 || s.includes(0)).chain((s) => fc.tuple(g.tensor(s, spreadOut), maybe(g, s.slice(-1)), maybe(g, s.slice(-1)))),
    call: ([x, w, b]) => t.layerNorm(x, w, b, spread), bound: near, gradient: "twice", bench: [big(1024, 1024), big(1024), big(1024)],
  }),
  rmsNorm: row({
    args: (g) => g.shape(1, 3).chain((s) => fc.tuple(g.tensor(s, { values: ["plain", "special"], domain: { low: 0.3, high: 3 } }), maybe(g, s.slice(-1)))),
    call: ([x, w]) => t.rmsNorm(x, w), bound: near, gradient: "twice", bench: [big(1024, 1024), big(1024)],
  }),
  groupNorm: row({
    args: (g) => fc.tuple(even(g), fc.constantFrom<number>(1, 2)).chain(([n, groups]) => fc.tuple(g.tensor([n, 4, 3], spreadOut), fc.constant(groups), maybe(g, [4]), maybe(g, [4]))),
    call: ([x, groups, w, b]) => t.groupNorm(x, groups, w, b, spread), bound: near, gradient: "twice", bench: [big(8, 64, 32, 32), 8, big(64), big(64)],
  }),
  instanceNorm: row({
    args: (g) => even(g).chain((n) => fc.tuple(g.tensor([n, 2, 5], spreadOut), maybe(g, [2]), maybe(g, [2]))),
    call: ([x, w, b]) => t.instanceNorm(x, w, b, spread), bound: near, gradient: "twice", bench: [big(8, 64, 32, 32), big(64), big(64)],
  }),
  batchNorm: row({
    args: (g) => fc.tuple(g.tensor([3, 2, 4], spreadOut), g.tensor([2], { values: ["plain"], held: true }), g.tensor([2], { values: ["plain"], held: true, domain: { low: 0.5, high: 2 } }), maybe(g, [2]), maybe(g, [2]), fc.boolean()),
    call: ([x, m, v, w, b, training]) => {
      const { output, mean, variance } = t.batchNorm(x, m, v, w, b, { ...spread, training })
      // No gradient flows to the running statistics.
      return [output, t.stopGradient(mean), t.stopGradient(variance)].slice(0, 1)
    },
    bound: near, gradient: "twice", bench: [big(8, 64, 32, 32), big(64), new Spec([64], "f32", { domain: { low: 0.5, high: 2 } }), big(64), big(64), true],
  }),
  conv1d: row({ args: (g) => convolved(g, 1), call: ([x, w, b, o]) => t.conv1d(x, w, b, o), bound: near, gradient: "twice", bench: [big(8, 64, 1024), big(64, 64, 3), big(64), { stride: 1, padding: 1, dilation: 1, groups: 1 }] }),
  conv2d: row({ args: (g) => convolved(g, 2), call: ([x, w, b, o]) => t.conv2d(x, w, b, o), bound: near, gradient: "twice", bench: [big(4, 32, 32, 32), big(32, 32, 3, 3), big(32), { stride: 1, padding: 1, dilation: 1, groups: 1 }] }),
  conv3d: row({ args: (g) => convolved(g, 3), call: ([x, w, b, o]) => t.conv3d(x, w, b, o), bound: near, gradient: "once", bench: [big(1, 8, 16, 16, 16), big(8, 8, 3, 3, 3), big(8), { stride: 1, padding: 1, dilation: 1, groups: 1 }] }),
  convTranspose2d: row({ args: (g) => convolved(g, 2, true), call: ([x, w, b, o]) => t.convTranspose2d(x, w, b, o), bound: near, gradient: "once", bench: [big(4, 32, 32, 32), big(32, 32, 3, 3), big(32), { stride: 2, padding: 1, dilation: 1, groups: 1 }] }),
  maxPool2d: row({
    args: (g) => image(g).chain((s) => fc.tuple(g.tensor(s, { distinct: true, values: ["plain", "special", "ties"] }), fc.constantFrom<t.PoolOptions & { dilation?: number }>({}, { stride: 1, padding: 1 }, { ceilMode: true }, { dilation: 2, stride: 1 }))),
    call: ([x, o]) => {
      const { values: y, indices } = t.maxPool2d(x, 2, o)
      return [y, indices]
    },
    bound: "exact", gradient: "once", bench: [big(8, 64, 32, 32), {}],
  }),
  avgPool2d: row({
    args: (g) => image(g).chain((s) => fc.tuple(g.tensor(s), fc.constantFrom<t.AveragePoolOptions>({}, { stride: 1, padding: 1 }, { ceilMode: true, countPadding: false, padding: 1 }))),
    call: ([x, o]) => t.avgPool2d(x, 2, o), bound: near, gradient: "twice", bench: [big(8, 64, 32, 32), {}],
  }),
  adaptiveAvgPool2d: row({
    args: (g) => image(g).chain((s) => fc.tuple(g.tensor(s), fc.constantFrom<readonly [number | null, number | null]>([1, 1], [3, 2], [null, 4]))),
    call: ([x, size]) => t.adaptiveAvgPool2d(x, size as [number, number]), bound: near, gradient: "twice", bench: [big(8, 64, 32, 32), [1, 1]],
  }),
  interpolate: row({
    args: (g) => image(g).filter((s) => !s.includes(0)).chain((s) => fc.tuple(g.tensor(s), fc.constantFrom<readonly [number, number]>([3, 9], [8, 2], [4, 5]), fc.constantFrom<t.InterpolateOptions>({}, { mode: "bilinear" }, { mode: "bilinear", alignCorners: true }))),
    call: ([x, size, o]) => t.interpolate(x, size as [number, number], o), bound: near, gradient: "twice", bench: [big(8, 64, 32, 32), [64, 64], { mode: "bilinear" }],
  }),
  attention: row({
    args: (g) => heads(g).chain(({ batch, kv, share, tq, tk, d, dv }) => fc.tuple(
      g.tensor([batch, kv * share, tq, d], calm), g.tensor([batch, kv, tk, d], calm), g.tensor([batch, kv, tk, dv], calm),
      fc.oneof(fc.constant(undefined), g.tensor([tq, tk], { types: ["f32"], values: ["plain"] }), g.tensor([1, 1, 1, tk], { types: ["f32"], values: ["plain"] })),
      fc.constantFrom<t.AttentionOptions>({}, { causal: true }, { causal: true, qOffset: 2 }, { causal: true, window: 2, qOffset: 1 }, { scale: 0.7 }),
    )),
    call: ([q, k, v, mask, o]) => t.attention(q, k, v, { ...o, ...(mask && { mask }) } as t.AttentionOptions), bound: near, gradient: "twice", bench: [big(1, 8, 256, 64), big(1, 8, 256, 64), big(1, 8, 256, 64), undefined, { causal: true }],
  }),
  rope: row({
    args: (g) => fc.tuple(g.size(2, 1), g.size(3, 1, 5), fc.constantFrom(4, 8)).chain(([n, length, features]) => fc.tuple(g.tensor([n, length, features], { types: floats, values: ["plain", "special"] }), fc.constantFrom<t.RotationOptions>({}, { offset: 7, base: 500 }, { layout: "interleaved", scaling: 2, magnitude: 1.1 }))),
    call: ([x, o]) => t.rope(x, o as t.RotationOptions), bound: scale(4e-6), gradient: "twice", bench: [big(8, 256, 64), {}],
  }),
  rotation: row({
    args: () => fc.tuple(fc.constantFrom<number>(3, 1, 9), fc.constantFrom<number>(4, 2), fc.constantFrom<t.RotationOptions>({}, { offset: 7, base: 500 }, { layout: "interleaved", scaling: 2, magnitude: 1.1 })),
    call: ([length, features, o]) => {
      const { cos, sin } = t.rotation(length, features, o as t.RotationOptions)
      return [cos, sin]
    },
    bound: scale(4e-6), gradient: noGradient("has no tensor operand"), bench: [2048, 64, {}],
  }),
} satisfies Record<string, Row>
