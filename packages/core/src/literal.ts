import { dtypes, encode, type DType, type TypedArray } from "./dtype.ts"
import type { Shape } from "./shape.ts"
import { apply, type Op, type Tensor } from "./tensor.ts"

const literalOp: Op<{ data: TypedArray; shape: Shape; dtype: DType }> = {
  name: "literal",
  meaning: { leaf: "literal", elements: ({ data }) => data },
  result: (_, { shape, dtype }) => ({ shape, dtype }),
}

/**
 * Values from the host that kernels read as an operand. Unlike {@link full} they are not part of the kernels' code, so
 * another value (a seed, a learning rate) runs the same program; unlike `tensor` they hold no memory.
 */
export function literal(values: number | readonly number[], dtype: DType): Tensor {
  const list = typeof values === "number" ? [values] : values
  const data = new dtypes[dtype].array(new ArrayBuffer(list.length * dtypes[dtype].bytes))
  list.forEach((v, i) => (data[i] = encode(dtype, v)))
  return apply(literalOp, [], { data, shape: typeof values === "number" ? [] : [list.length], dtype })
}
