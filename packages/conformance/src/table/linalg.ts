import fc from "fast-check"
import * as t from "@thimble/core"
import type { DType, Shape, Tensor } from "@thimble/core"
import { Spec, type Draw, type Gen } from "./spec.ts"
import { noGradient, row, scale, type Gradient, type Outputs, type Row } from "./row.ts"

const big = (...shape: number[]): Spec => new Spec(shape, "f32")
const types: readonly DType[] = ["f32", "f64"]
const calm: Draw = { types, values: ["plain"], domain: { low: -1, high: 1 } }
/** Routines run in f64 on the host, everywhere from the same operands; what is composed around them may round differently. */
const near = scale(2e-5)

/** Leading axes and sizes of a matrix. */
const matrices = (g: Gen, square: boolean): fc.Arbitrary<Shape> =>
  fc.tuple(fc.constantFrom<Shape>([], [2], ...(g.gradient ? [] : [[0]])), fc.constantFrom(3, 1, 4), fc.constantFrom(2, 3, 5)).map(([batch, m, n]) => [...batch, m, square ? m : n])
/** Numbers along the diagonal, apart from each other: regular, and no two values are equal. */
const spread = (x: Tensor): Tensor => {
  const [m, n] = x.shape.slice(-2) as [number, number]
  const where = t.eq(t.arange(n), t.unsqueeze(t.arange(m), 1))
  return t.mul(t.castTo(where, x.dtype), t.castTo(t.add(t.mul(t.arange(n), 3), 5), x.dtype))
}
const regular = (x: Tensor): Tensor => t.add(x, spread(x))
const symmetric = (x: Tensor): Tensor => t.add(t.add(x, t.transpose(x)), spread(x))

/** A function of one matrix, made fit for it by `prepare`. */
const of = (call: (x: Tensor) => Outputs, { square = true, prepare = regular, gradient = "twice" }: { square?: boolean; prepare?: (x: Tensor) => Tensor; gradient?: Gradient } = {}): Row => row({
  args: (g) => matrices(g, square).chain((s) => fc.tuple(g.tensor(s, calm))),
  call: ([x]) => call(prepare(x)), bound: near, gradient, bench: [big(128, 128)],
})
/** A system of equations. */
const system = <A>(call: (a: Tensor, b: Tensor, options: A) => Tensor, options: fc.Arbitrary<A>, bench: NoInfer<A>, square = true): Row => row<readonly [Spec, Spec, A]>({
  args: (g) => fc.tuple(matrices(g, square), g.size(2, 1)).chain(([s, count]) => fc.tuple(g.tensor(s, calm), g.tensor([...s.slice(0, -1), count], calm), options)),
  call: ([a, b, o]) => call(regular(a), b, o as A), bound: near, gradient: "twice", bench: [big(128, 128), big(128, 16), bench],
})

export const linalg = {
  solve: system((a, b) => t.solve(a, b), fc.constant(null), null),
  solveTriangular: system<t.TriangularOptions>((a, b, o) => (o.side === "right" ? t.solveTriangular(a, t.transpose(b), o) : t.solveTriangular(a, b, o)),
    fc.record({ triangle: fc.constantFrom("lower", "upper"), side: fc.constantFrom("left", "right"), transposed: fc.boolean(), unitDiagonal: fc.boolean() }), {}),
  leastSquares: system((a, b) => t.leastSquares(a, b), fc.constant(null), null, false),
  inverse: of(t.inverse), determinant: of(t.determinant),
  slogdet: of((x) => {
    const { sign, logAbs } = t.slogdet(x)
    return [t.stopGradient(sign), logAbs]
  }),
  cholesky: of(t.cholesky, { prepare: symmetric }), choleskyInverse: of((x) => t.choleskyInverse(t.cholesky(x)), { prepare: symmetric }),
  inverseUpperFactor: of(t.inverseUpperFactor, { prepare: symmetric, gradient: noGradient("GPTQ's factor is computed once and never trained through") }),
  qr: of((x) => {
    const { q, r } = t.qr(x)
    return [q, r]
  }, { square: false }),
  eigh: of((x) => {
    const { values, vectors } = t.eigh(x)
    return [values, vectors]
  }, { prepare: symmetric }),
  svd: of((x) => {
    const { u, s, vt } = t.svd(x)
    return [u, s, vt]
  }, { square: false }),
  matrixRank: of(t.matrixRank, { square: false, gradient: noGradient("the result is no float") }),
  pseudoInverse: of(t.pseudoInverse, { square: false }),
  hadamardTransform: row({
    args: (g) => fc.tuple(g.shape(0, 2), fc.constantFrom(4, 1, 2, 12, 20), fc.constantFrom<t.HadamardOptions>({}, { scale: "orthonormal" }, { transposed: true }))
      .chain(([s, n, o]) => fc.tuple(g.tensor([...s, n], calm), fc.constant(o))),
    call: ([x, o]) => t.hadamardTransform(x, o as t.HadamardOptions), bound: near, gradient: "twice", bench: [big(1024, 1024), {}],
  }),
} satisfies Record<string, Row>
