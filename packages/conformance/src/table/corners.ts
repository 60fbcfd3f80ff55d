// Where devices go wrong with special values: in some lane of a vector, in the rest that fills none, where there are no
// vectors at all, and in what a reduction carries along. Random cases are too small and too mixed to get there.
import { isFloat, type DType, type Shape } from "@thimble/core"
import { edgesOf, Spec, specials } from "./spec.ts"

/** Types that have code of their own; the others are converted to one of these. */
const computed: readonly DType[] = ["f32", "i32", "u32"]
const countOf = (dtype: DType): number => (isFloat(dtype) ? specials.length : edgesOf(dtype).length)
const typesOf = (types: readonly DType[]): DType[] => computed.filter((t) => types.includes(t))
/** As vectors, and in rows of three that memory has the other way round, too short for vectors. */
const layouts = (size: number): readonly (readonly [Shape, "stored" | "permuted"])[] => [[[size], "stored"], [[size, 3], "permuted"]]

/** Every special value, in every lane. */
export const singles = (types: readonly DType[]): Spec[] =>
  typesOf(types).flatMap((dtype) => layouts(4 * countOf(dtype) + 3).map(([shape, view]) => new Spec(shape, dtype, { values: "cycle", view })))

/** Every special value with every other. */
export const couples = (types: readonly DType[]): (readonly [Spec, Spec])[] =>
  typesOf(types).flatMap((dtype) => layouts(countOf(dtype) ** 2).map(([shape, view]) =>
    [new Spec(shape, dtype, { values: "cycle", view, seed: countOf(dtype) }), new Spec(shape, dtype, { values: "cycle", view })] as const))

/** Tensors with one special value to a row, or zeros of both signs; each with the axes that lie along memory, across it, or are all. */
export const lines = (types: readonly DType[]): (readonly [Spec, axis: number | undefined])[] =>
  typesOf(types).flatMap((dtype) => [
    ...[0, 1].flatMap((axis) => [
      [new Spec([30, 37], dtype, { values: "lone", seed: 37 }), axis] as const,
      [new Spec([30, 3], dtype, { values: "lone", seed: 3 }), axis] as const,
      [new Spec([33, 7], dtype, { values: "zeros" }), axis] as const,
    ]),
    [new Spec([15, 37], dtype, { values: "cycle", seed: 37 }), 1] as const,
    [new Spec([37, 15], dtype, { values: "cycle" }), 0] as const,
    ...(dtype === "f32" ? [[new Spec([2 ** 15], dtype, { values: "lone", seed: 2 ** 15 }), undefined] as const] : []),
  ])

/** Matrices [m, k] and [k, n] of sizes that kernels treat apart; at most one special value in a product of rows and columns. */
export const factors: readonly (readonly [Spec, Spec])[] = [[1, 37, 53], [5, 20, 23], [14, 33, 53]].flatMap(([m, k, n]) => [
  [new Spec([m!, k!], "f32", { values: "lone", seed: k! }), new Spec([k!, n!], "f32")] as const,
  [new Spec([m!, k!], "f32"), new Spec([k!, n!], "f32", { values: "lone", seed: n! })] as const,
])
