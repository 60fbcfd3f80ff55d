import { dtypes, promote, type DType } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { batched } from "../linalg/batched.ts"
import type { Floats } from "../linalg/input.ts"
import { broadcastShapes, sizeOf, type Shape } from "../shape.ts"
import { apply, type Op, type Tensor } from "../tensor.ts"
import { leading } from "./along.ts"
import { castTo } from "./elementwise.ts"
import { expand, narrow, reshape } from "./movement.ts"

// How dense linear algebra becomes ops: a host routine on one matrix, run on each matrix of the leading axes.

/** [rows, columns] of each operand's matrices. */
export type MatrixSizes = readonly (readonly [rows: number, columns: number])[]

/** Dense linear algebra on one matrix of each operand. */
export interface MatrixRoutine<A, K extends string> {
  readonly name: string
  /** The results by name, and the shape each has per matrix. */
  parts(sizes: MatrixSizes, attrs: A): Record<K, Shape>
  one(matrices: readonly Floats[], sizes: MatrixSizes, attrs: A): { readonly [key in NoInfer<K>]: ArrayLike<number> | number }
  /** Gradients of the operands from those of the results. */
  vjp?(dy: Record<K, Tensor>, out: Record<K, Tensor>, src: readonly Tensor[], attrs: A): (Tensor | null)[]
  /** The operands' own unless given. */
  readonly dtype?: DType
}

/** A routine as a function of tensors; its results by name. */
export type MatrixFunction<A, K extends string> = (src: readonly Tensor[], attrs: A) => Record<K, Tensor>

const sizesOf = (t: { readonly shape: Shape }): readonly [number, number] => [t.shape.at(-2)!, t.shape.at(-1)!]

/**
 * Makes the function of a routine. Operands share their leading axes and dtype, see {@link matched}. Several results
 * are one array, packed matrix by matrix along the last axis, and views of it: so the routine runs once for all of them.
 */
export function matrixFunction<A, K extends string>({ name, parts, one, vjp, dtype }: MatrixRoutine<A, K>): MatrixFunction<A, K> {
  const shapesOf = (src: readonly { readonly shape: Shape }[], attrs: A): [K, Shape][] => Object.entries(parts(src.map(sizesOf), attrs)) as [K, Shape][]

  const split = (packed: Tensor, src: readonly Tensor[], attrs: A): Record<K, Tensor> => {
    const shapes = shapesOf(src, attrs), batch = src[0]!.shape.slice(0, -2)
    let at = 0
    return Object.fromEntries(shapes.map(([key, shape]) => {
      const n = sizeOf(shape)
      const part = shapes.length === 1 ? packed : reshape(narrow(packed, -1, at, n), [...batch, ...shape])
      at += n
      return [key, part]
    })) as Record<K, Tensor>
  }

  const op: Op<A> = {
    name,
    meaning: {
      routine: (src, node, attrs) => {
        const sizes = src.map(sizesOf), shapes = shapesOf(src, attrs)
        const total = shapes.reduce((n, [, shape]) => n + sizeOf(shape), 0)
        const { packed } = batched(sizeOf(src[0]!.shape.slice(0, -2)), src.map((s) => s.data as Floats), { packed: total }, (...matrices) => {
          const results = one(matrices, sizes, attrs)
          const all = new Float64Array(total)
          let at = 0
          for (const [key, shape] of shapes) {
            const value = results[key]
            if (typeof value === "number") all[at] = value
            else all.set(value, at)
            at += sizeOf(shape)
          }
          return { packed: all }
        })
        const out = new dtypes[node.dtype].array(new ArrayBuffer(packed.length * dtypes[node.dtype].bytes))
        out.set(packed)
        return out
      },
    },
    result: (src, attrs) => {
      const shapes = shapesOf(src, attrs), batch = src[0]!.shape.slice(0, -2)
      const shape = shapes.length === 1 ? shapes[0]![1] : [shapes.reduce((n, [, s]) => n + sizeOf(s), 0)]
      return { shape: [...batch, ...shape], dtype: dtype ?? src[0]!.dtype }
    },
    batched: leading,
    ...(vjp && { vjp: (dy, out, src, attrs) => vjp(split(dy, src, attrs), split(out, src, attrs), src, attrs) }),
  }
  return (src, attrs) => split(apply(op, src, attrs), src, attrs)
}

function checkMatrices(op: string, x: Tensor): void {
  if (x.dtype !== "f32" && x.dtype !== "f64") fail("dtype", op, `needs f32 or f64, got ${x.dtype}`, "cast to f32 first")
  if (x.rank < 2) fail("shape", op, `needs matrices [..., rows, columns], got ${showShape(x.shape)}`)
}
/** Refuses what is not a tensor of f32 or f64 matrices. */
export function matrices(op: string, x: Tensor): Tensor {
  checkMatrices(op, x)
  return x
}
/** Refuses what is not a tensor of square f32 or f64 matrices. */
export function squares(op: string, x: Tensor): Tensor {
  checkMatrices(op, x)
  const [rows, columns] = sizesOf(x)
  if (rows !== columns) fail("shape", op, `needs square matrices, got ${showShape(x.shape)} (${rows} ≠ ${columns})`)
  return x
}

/** Two operands with one dtype and the same leading axes, to which both broadcast. */
export function matched(op: string, a: Tensor, b: Tensor): [a: Tensor, b: Tensor] {
  checkMatrices(op, a)
  checkMatrices(op, b)
  const dtype = promote(a.dtype, b.dtype)
  const batch = broadcastShapes(op, a.shape.slice(0, -2), b.shape.slice(0, -2))
  const spread = (t: Tensor): Tensor => expand(castTo(t, dtype), [...batch, ...sizesOf(t)])
  return [spread(a), spread(b)]
}
