import fc from "fast-check"
import * as t from "@thimble/core"
import type { LossOptions, Shape, Tensor } from "@thimble/core"
import { axisOfRank, floats, Spec, type Domain, type Gen } from "./spec.ts"
import { row, scale, type Row } from "./row.ts"

const big = (...shape: number[]): Spec => new Spec(shape, "f32")
const near = scale(1e-5)
const reduction: fc.Arbitrary<LossOptions> = fc.constantFrom({}, { reduction: "sum" }, { reduction: "none" })
const some = (g: Gen): fc.Arbitrary<Shape> => g.shape(1, 3).filter((s) => !s.includes(0))
const unit: Domain = { low: 0.05, high: 0.95 }

/** An input and its target, of one shape. */
const pair = (call: (x: Tensor, y: Tensor, o: LossOptions) => Tensor, { x: inside = { low: -3, high: 3 }, y = inside, held = false, gradient = "twice" }: { x?: Domain; y?: Domain; held?: boolean; gradient?: "once" | "twice" } = {}): Row => row({
  args: (g) => some(g).chain((s) => fc.tuple(g.tensor(s, { types: floats, values: ["plain"], domain: inside }), g.tensor(s, { types: ["f32"], values: ["plain"], domain: y, held }), reduction)),
  call: ([a, b, o]) => call(a, b, o as LossOptions), bound: near, gradient, bench: [big(1024, 1024), big(1024, 1024), {}],
})
const apart = { x: { low: -3, high: -0.2 }, y: { low: 0.1, high: 0.6 }, gradient: "once" } as const
/** Logits, and a class for each row; some rows do not count. */
const classes = (g: Gen) => fc.tuple(g.size(3, 1, 5), fc.constantFrom(4, 1, 7)).chain(([n, c]) => fc.tuple(
  g.tensor([n, c], { values: ["plain"] }), g.tensor([n], { types: ["i32", "u8"], values: ["plain"], domain: { low: 0, high: c - 1 } }),
  fc.option(g.tensor([c], { types: ["f32"], values: ["plain"], held: true, domain: { low: 0.5, high: 2 } }), { nil: undefined }),
  fc.constantFrom<t.CrossEntropyOptions>({}, { reduction: "sum" }, { reduction: "none", ignoreIndex: 0 }),
))
const ids = (n: number, below: number): Spec => new Spec([n], "i32", { domain: { low: 0, high: below - 1 } })

export const losses = {
  mseLoss: pair(t.mseLoss), l1Loss: pair(t.l1Loss, apart), huberLoss: pair((a, b, o) => t.huberLoss(a, b, { ...o, delta: 5 })), smoothL1Loss: pair((a, b, o) => t.smoothL1Loss(a, b, { ...o, beta: 0.2 }), apart),
  binaryCrossEntropy: pair(t.binaryCrossEntropy, { x: unit, held: true }), bceWithLogits: pair(t.bceWithLogits, { y: unit, held: true }),
  klDivLoss: pair((a, b, o) => t.klDivLoss(a, b, o), { y: unit }),
  distillationLoss: row({
    args: (g) => some(g).chain((s) => fc.tuple(g.tensor(s, { values: ["plain"] }), g.tensor(s, { types: ["f32"], values: ["plain"], held: true }), axisOfRank(s.length), fc.constantFrom<number>(1, 3))),
    call: ([a, b, axis, temperature]) => t.distillationLoss(a, b, { axis, temperature }), bound: scale(4e-5), gradient: "twice", bench: [big(256, 4096), big(256, 4096), -1, 2],
  }),
  cosineSimilarity: row({
    args: (g) => some(g).chain((s) => fc.tuple(g.tensor(s, { values: ["plain"], smooth: unit }), g.tensor(s, { types: ["f32"], values: ["plain"], smooth: unit }), axisOfRank(s.length))),
    call: ([a, b, axis]) => t.cosineSimilarity(a, b, { axis }), bound: near, gradient: "twice", bench: [big(1024, 1024), big(1024, 1024), -1],
  }),
  crossEntropy: row({
    args: (g) => fc.tuple(classes(g), fc.constantFrom(0, 0.1)),
    call: ([[x, target, weight, o], labelSmoothing]) => t.crossEntropy(x, target, { ...o, labelSmoothing, ...(weight && { weight }) } as t.CrossEntropyOptions), bound: near, gradient: "twice", bench: [[big(512, 8192), ids(512, 8192), undefined, {}], 0],
  }),
  nllLoss: row({
    args: (g) => fc.tuple(classes(g)),
    call: ([[x, target, weight, o]]) => t.nllLoss(x, target, { ...o, ...(weight && { weight }) } as t.ClassOptions), bound: near, gradient: "twice", bench: [[big(512, 8192), ids(512, 8192), undefined, {}]],
  }),
} satisfies Record<string, Row>
