import fc from "fast-check"
import * as t from "@thimble/core"
import type { DType, ReduceOptions, Shape, Tensor } from "@thimble/core"
import { lines } from "./corners.ts"
import { axisOfRank, every, floats, numbers, Spec, type Domain, type Gen, type Values } from "./spec.ts"
import { exact, noGradient, row, scale, type Bound, type Gradient, type Row } from "./row.ts"

const logic = noGradient("the result is no float")
const big = (): Spec => new Spec([1024, 1024], "f32")

/** Which axes, under any of their names, and whether they stay. */
const options = (s: Shape): fc.Arbitrary<ReduceOptions> => fc.record({
  axis: s.length === 0 ? fc.constantFrom(undefined, []) : fc.oneof(fc.constant(undefined), axisOfRank(s.length), fc.subarray(s.map((_, i) => i)).map((a) => (a.length > 1 ? [a[0]! - s.length, ...a.slice(1)] : a))),
  keepDims: fc.boolean(),
})
const oneAxis = (s: Shape, least = 1): fc.Arbitrary<number> => axisOfRank(s.length).filter((a) => s.at(a)! >= least)

interface Reduction {
  readonly types?: readonly DType[]
  readonly values?: readonly Values[]
  readonly domain?: Domain
  readonly bound?: Bound
  readonly gradient?: Gradient
  /** An empty reduction has no result. */
  readonly some?: boolean
  readonly distinct?: boolean
  /** The order in which values are combined decides whether one in between overflows. */
  readonly overflows?: boolean
}
const filled = (g: Gen, some: boolean): fc.Arbitrary<Shape> => (some ? g.shape().filter((s) => !s.includes(0)) : g.shape())
const reduction = (call: (x: Tensor, o: ReduceOptions) => Tensor, { types = floats, values = ["plain", "special", "ties"], domain, bound = scale(2e-6), gradient = "twice", some = false, distinct = false, overflows = false }: Reduction = {}): Row => row({
  args: (g) => filled(g, some).chain((s) => fc.tuple(g.tensor(s, { types, values, distinct, ...(domain && { domain }) }), options(s))),
  call: ([x, o]) => call(x, o), bound, gradient, bench: [big(), { axis: -1 }],
  corners: overflows ? [] : lines(types).map(([x, axis]) => [x, { ...(axis !== undefined && { axis }) }] as const),
})
const order: Reduction = { types: every, values: ["plain", "special", "ties", "large"], bound: exact, gradient: "once", some: true, distinct: true }

/** Along one axis with at least one element. */
const along = (call: (x: Tensor, axis: number) => t.Chosen | Tensor, { types = every, values = ["plain", "special", "ties", "large"], domain, bound = exact, gradient = "once", distinct = true }: Reduction = {}): Row => row({
  args: (g) => g.shape(1, 3).filter((s) => s.some((n) => n > 0)).chain((s) => fc.tuple(g.tensor(s, { types, values, distinct, ...(domain && { domain }) }), oneAxis(s))),
  call: ([x, axis]) => {
    const y = call(x, axis)
    return "values" in y ? [y.values, y.indices] : y
  },
  bound, gradient, bench: [big(), -1], corners: lines(types).flatMap(([x, axis]) => (axis === undefined ? [] : [[x, axis] as const])),
})

export const reduce = {
  sum: reduction(t.sum, { types: every }), prod: reduction(t.prod, { types: every, values: ["plain", "limits", "ties"], domain: { low: -1.3, high: 1.3 }, overflows: true }), mean: reduction(t.mean),
  amax: reduction(t.amax, order), amin: reduction(t.amin, order),
  any: reduction(t.any, { types: every, bound: exact, gradient: logic }), all: reduction(t.all, { types: every, bound: exact, gradient: logic }),
  countNonzero: reduction(t.countNonzero, { types: every, bound: exact, gradient: logic }),
  logsumexp: reduction(t.logsumexp, { bound: scale(4e-6) }),
  variance: row({
    args: (g) => g.shape(0, 4).chain((s) => fc.tuple(g.tensor(s, { values: ["plain", "special"] }), options(s), g.gradient ? fc.constant(0) : fc.constantFrom(1, 0, 2))),
    call: ([x, o, correction]) => t.variance(x, { ...o, correction }), bound: scale(4e-6), gradient: "twice", bench: [big(), { axis: -1 }, 1],
  }),
  std: row({
    args: (g) => g.shape(1, 4).filter((s) => !g.gradient || s.at(-1)! > 1).chain((s) => fc.tuple(g.tensor(s, { values: ["plain", "special"], distinct: true }), g.gradient ? fc.constant({ axis: -1 }) : options(s))),
    call: ([x, o]) => t.std(x, o), bound: scale(1e-5), gradient: "twice", bench: [big(), { axis: -1 }],
  }),
  norm: row({
    args: (g) => filled(g, true).chain((s) => fc.tuple(g.tensor(s, { values: ["plain", "ties"], distinct: true, domain: { low: 0.2, high: 3 } }), options(s), fc.constantFrom(...(g.gradient ? [2, 1, 3, Infinity] : [2, 1, 3, 0, Infinity, -Infinity, 0.5])))),
    call: ([x, o, p]) => t.norm(x, { ...o, p }), bound: scale(1e-5), gradient: "once", bench: [big(), { axis: -1 }, 2],
  }),
  argmax: along((x, axis) => t.argmax(x, { axis, keepDims: true }), { gradient: logic }), argmin: along((x, axis) => t.argmin(x, { axis }), { gradient: logic }),
  max: along((x, axis) => t.max(x, axis)), min: along((x, axis) => t.min(x, axis, { keepDims: true })),
  cummax: along(t.cummax), cummin: along(t.cummin),
  cumsum: along(t.cumsum, { types: every, values: ["plain", "special", "ties"], bound: scale(2e-6), gradient: "twice", distinct: false }),
  cumprod: along(t.cumprod, { types: every, values: ["plain", "special", "ties"], bound: scale(2e-6), gradient: "once", distinct: false, domain: { low: -1.3, high: 1.3, avoid: [0] } }),
  sort: row({
    args: (g) => g.shape(1, 3).chain((s) => fc.tuple(g.tensor(s, { types: every, values: ["plain", "special", "ties"], distinct: true }), axisOfRank(s.length), fc.boolean())),
    call: ([x, axis, descending]) => {
      const { values, indices } = t.sort(x, { axis, descending })
      return [values, indices]
    },
    bound: exact, gradient: "once", bench: [big(), -1, false],
  }),
  argsort: row({
    args: (g) => g.shape(1, 3).chain((s) => fc.tuple(g.tensor(s, { types: every, values: ["plain", "special", "ties"] }), axisOfRank(s.length), fc.boolean())),
    call: ([x, axis, descending]) => t.argsort(x, { axis, descending }), bound: exact, gradient: logic, bench: [big(), -1, false],
  }),
  topk: row({
    args: (g) => g.shape(1, 3).filter((s) => !s.includes(0)).chain((s) => axisOfRank(s.length).chain((axis) => fc.tuple(g.tensor(s, { types: numbers, distinct: true }), fc.integer({ min: 1, max: s.at(axis)! }), fc.constant(axis), fc.boolean()))),
    call: ([x, k, axis, largest]) => {
      const { values, indices } = t.topk(x, k, { axis, largest })
      return [values, indices]
    },
    bound: exact, gradient: "once", bench: [big(), 8, -1, true],
  }),
  median: along((x, axis) => t.median(x, { axis, keepDims: true }), { types: floats }),
  quantile: row({
    args: (g) => g.shape(1, 3).filter((s) => s.some((n) => n > 0)).chain((s) => fc.tuple(g.tensor(s, { values: ["plain", "ties"], distinct: true }), fc.constantFrom(0, 0.3, 0.5, 1), oneAxis(s))),
    call: ([x, q, axis]) => t.quantile(x, q, { axis }), bound: scale(1e-6), gradient: "once", bench: [big(), 0.5, -1],
  }),
} satisfies Record<string, Row>
