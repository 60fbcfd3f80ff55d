import fc from "fast-check"
import {
  abs, add, amax, amin, cat, castTo, clamp, cumsum, cos, div, exp, expand, flip, gelu, layerNorm, logSoftmax, logsumexp, matmul, maximum, mean, minimum, mul, neg, pad,
  realize, relu, reshape, rmsNorm, roll, scatterAdd, sigmoid, silu, slice, softmax, sqrt, square, sub, sum, take, tanh, tensor, transpose, tril, where, le, type DType, type Tensor,
} from "@thimble/core"
import { uniform } from "./table/spec.ts"

/**
 * One kind of node. Values stay about 1 in size, so that errors do not grow with depth. `exact`: the same operations in
 * the same order however it is fused, so the same bits. `form`: a smooth function; one with kinks, whose gradients
 * nearby may differ; one with steps, whose values may.
 */
interface Step { readonly exact: boolean; readonly form: "smooth" | "kinked" | "stepped"; call(a: Tensor, b: Tensor, n: number): Tensor }

/** Values are matrices, rows, columns or single numbers; some steps need matrices. */
const full = (t: Tensor, n: number): Tensor => expand(t, [n, n])
const of = (exact: boolean, form: Step["form"]) => (call: Step["call"]): Step => ({ exact, form, call })
const plain = of(true, "smooth"), kinked = of(true, "kinked"), stepped = of(true, "stepped"), summed = of(false, "smooth")
const keep = (axis: number) => ({ axis, keepDims: true })
/** What some steps need from outside: positions of a permutation, by size. */
const turned = (n: number): Tensor => tensor(Int32Array.from({ length: n }, (_, i) => (i * 7 + 3) % n))

export const kinds = {
  tanh: plain((a) => tanh(a)), sigmoid: plain((a) => sigmoid(a)), gelu: plain((a) => gelu(a)), silu: plain((a) => silu(a)), cos: plain((a) => cos(a)),
  neg: plain((a) => neg(a)), exp: plain((a) => exp(tanh(a))), square: plain((a) => square(tanh(a))), sqrt: plain((a) => sqrt(add(square(a), 1))),
  add: plain((a, b) => mul(add(a, b), 0.5)), sub: plain((a, b) => mul(sub(a, b), 0.7)), mul: plain((a, b) => mul(a, tanh(b))), div: plain((a, b) => div(a, add(1, square(b)))),
  relu: kinked((a) => relu(a)), abs: kinked((a) => abs(a)), maximum: kinked((a, b) => maximum(a, b)), minimum: kinked((a, b) => minimum(a, neg(b))), clamp: kinked((a) => clamp(a, -0.8, 0.9)),
  where: stepped((a, b) => where(le(a, b), a, mul(b, 0.5))), half: stepped((a) => castTo(castTo(a, "f16"), a.dtype)), codes: stepped((a) => mul(castTo(castTo(mul(tanh(a), 100), "i8"), a.dtype), 0.01)),
  transpose: plain((a) => transpose(a)), flip: plain((a) => flip(a)), roll: plain((a, _, n) => roll(full(a, n), 1, 1)), tril: plain((a, _, n) => tril(full(a, n))),
  reshape: plain((a, _, n) => { const m = full(a, n); return n % 2 === 0 ? reshape(transpose(reshape(m, [2, n * n / 2])), [n, n]) : reshape(flip(reshape(m, [n * n])), [n, n]) }),
  swap: plain((a, _, n) => { const m = full(a, n), k = n >> 1; return cat([slice(m, [k]), slice(m, [0, k])], 0) }),
  shift: plain((a, _, n) => { const m = full(a, n); return pad(slice(m, null, [1]), [[0, 0], [1, 0]]) }),
  take: plain((a, _, n) => { const m = full(a, n); return take(m, turned(n), 1) }),
  amax: kinked((a) => amax(a, keep(1))), amin: kinked((a) => amin(a, keep(0))),
  sum: summed((a, _, n) => { const m = full(a, n); return div(sum(m, keep(0)), n) }), mean: summed((a) => mean(a, keep(1))),
  logsumexp: summed((a) => mul(logsumexp(a, keep(1)), 0.3)), cumsum: summed((a, _, n) => { const m = full(a, n); return div(cumsum(m, 1), n) }),
  scatter: summed((a, _, n) => { const m = full(a, n); return mul(scatterAdd(m, expand(reshape(turned(n), [n, 1]), [n, n]), 0, n), 0.5) }),
  softmax: summed((a, _, n) => softmax(full(a, n))), logSoftmax: summed((a, _, n) => mul(logSoftmax(full(a, n), 0), 0.2)),
  layerNorm: summed((a, _, n) => layerNorm(full(a, n), undefined, undefined, { eps: 0.1 })), rmsNorm: summed((a, _, n) => rmsNorm(full(a, n), undefined, { eps: 0.1 })),
  scaledNorm: summed((a, b, n) => { const m = full(a, n); return layerNorm(m, reshape(slice(full(b, n), [0, 1]), [n]), undefined, { eps: 0.1 }) }),
  matmul: summed((a, b, n) => { const m = full(a, n); return div(matmul(m, full(b, n)), n) }),
  project: summed((a, b, n) => { const m = full(a, n); return tanh(add(div(matmul(m, transpose(full(b, n))), n), a)) }),
  batched: summed((a, b, n) => { const m = full(a, n); return div(sum(matmul(reshape(m, [n, 1, n]), expand(reshape(full(b, n), [1, n, n]), [n, n, n])), { axis: 1 }), n) }),
} satisfies Record<string, Step>
export type Kind = keyof typeof kinds

/** A random program: five leaves, steps that each read two earlier values, and which values are wanted. */
export interface Graph { readonly n: number; readonly seed: number; readonly steps: readonly (readonly [kind: Kind, a: number, b: number])[]; readonly outputs: readonly number[] }

/** `exact`: the same bits however it is fused; `smooth`, `continuous`: without kinks, without steps. */
export type Restriction = "none" | "exact" | "continuous" | "smooth"
const permits: Record<Restriction, (s: Step) => boolean> = {
  none: () => true, exact: (s) => s.exact, continuous: (s) => s.form !== "stepped", smooth: (s) => s.form === "smooth",
}

export function graphs(only: Restriction, { sizes = [4, 3, 1, 8, 13], most = 40 }: { readonly sizes?: readonly number[]; readonly most?: number } = {}): fc.Arbitrary<Graph> {
  const usable = (Object.keys(kinds) as Kind[]).filter((k) => permits[only](kinds[k]))
  return fc.record({
    n: fc.constantFrom(...sizes), seed: fc.integer({ min: 1, max: 1e6 }),
    // Small numbers count from the back: recent values are read most, and shrinking makes a chain.
    steps: fc.array(fc.tuple(fc.constantFrom(...usable), fc.oneof(fc.nat(2), fc.nat(40)), fc.nat(40)), { minLength: 5, maxLength: most, size: "max" }),
    outputs: fc.array(fc.nat(40), { minLength: 0, maxLength: 3 }),
  })
}

/** Leaves of a graph, each in a type and shape of its own. */
export function leavesOf({ n, seed }: Graph, float: DType = "f32"): Tensor[] {
  const random = uniform(seed)
  const make = (shape: number[], dtype: DType, size = 1): Tensor =>
    tensor(Float64Array.from({ length: shape[0]! * shape[1]! }, () => (random() * 2 - 1) * size), { shape, dtype: float === "f64" ? "f64" : dtype })
  return [make([n, n], float), make([n, n], "f16"), make([1, n], float), make([n, 1], float), make([n, n], "i8", 3)]
}

/** Makes the nodes of a graph one by one. */
export function* nodesOf({ n, steps, outputs }: Graph, leaves: readonly Tensor[]): Generator<Tensor, Tensor[]> {
  const values = leaves.map((l) => (l.dtype === "f64" ? l : castTo(l, "f32")))
  const at = (back: number): Tensor => values[values.length - 1 - (back % values.length)]!
  for (const [kind, a, b] of steps) {
    const next = kinds[kind].call(at(a), at(b), n)
    yield next
    values.push(next)
  }
  return [...new Set([values.at(-1)!, ...outputs.map(at)])]
}
/** The outputs of a graph, nothing computed. */
export function outputsOfGraph(graph: Graph, leaves: readonly Tensor[]): Tensor[] {
  const nodes = nodesOf(graph, leaves)
  for (;;) {
    const { done, value } = nodes.next()
    if (done) return value
  }
}
/** The outputs with every node computed by a program of its own. */
export async function outputsOneByOne(graph: Graph, leaves: readonly Tensor[]): Promise<Tensor[]> {
  const nodes = nodesOf(graph, leaves)
  for (;;) {
    const { done, value } = nodes.next()
    if (done) return value
    await realize(value)
  }
}
