import { fail } from "../errors.ts"
import { hadamardFactors } from "../linalg/hadamard.ts"
import type { Floats } from "../linalg/input.ts"
import { hadamardTransform as transform, type HadamardOptions } from "../linalg/walsh-hadamard.ts"
import { apply, type Op, type Tensor } from "../tensor.ts"

export type { HadamardOptions }

const hadamardOp: Op<Required<HadamardOptions>> = {
  name: "hadamardTransform",
  meaning: {
    routine: ([x], { shape }, options) => {
      const size = shape.at(-1)!, data = x!.data as Floats
      transform(data, size === 0 ? 0 : data.length / size, size, options)
      return data
    },
  },
  result: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
  vjp: (dy, _out, _src, { scale, transposed }) => [apply(hadamardOp, [dy], { scale, transposed: !transposed })],
}

/**
 * Multiplies every row (the last axis) by the Hadamard matrix of its size, in size·log(size) steps. Sizes are those of
 * known matrices (see the error); for powers of two it is symmetric. Rounded once, from f64.
 */
export function hadamardTransform(x: Tensor, { scale = "none", transposed = false }: HadamardOptions = {}): Tensor {
  if (x.dtype !== "f32" && x.dtype !== "f64") fail("dtype", "hadamardTransform", `needs f32 or f64, got ${x.dtype}`, "cast to f32 first")
  if (x.rank === 0) fail("shape", "hadamardTransform", "needs at least one axis, got []")
  if (scale !== "none" && scale !== "orthonormal") fail("value", "hadamardTransform", `scale must be none or orthonormal, got ${String(scale)}`)
  const size = x.shape.at(-1)!
  if (size > 0) hadamardFactors(size, "hadamardTransform")
  return apply(hadamardOp, [x], { scale, transposed })
}
