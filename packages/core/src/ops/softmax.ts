import { isFloat } from "../dtype.ts"
import { fail } from "../errors.ts"
import { axisOf, sizeOf } from "../shape.ts"
import { apply, type Op, type Template, type Tensor } from "../tensor.ts"
import { along } from "./along.ts"
import { moveAxis } from "./arrange.ts"
import { castTo, div, mul, sub } from "./elementwise.ts"
import { exp, log } from "./math.ts"
import { reshape } from "./movement.ts"
import { amax, sum } from "./reduce.ts"

const last = { axis: -1, keepDims: true }
const template: Template<undefined> = {
  dims: ({ shape: [rows, columns] }) => ({ rows: rows!, columns: columns! }),
  loads: ({ shape }) => ({ x: { source: 0, shape, coords: (i) => [...i] } }),
}

/** Of the rows of a matrix. */
const softmaxOp: Op<undefined> = {
  name: "softmax",
  meaning: {
    expand: ([x]) => {
      const e = exp(sub(x!, amax(x!, last)))
      return div(e, sum(e, last))
    },
  },
  result: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
  vjp: (dy, y) => [mul(y, sub(dy, sum(mul(dy, y), last)))],
  batched: along(0, 0),
  template,
}
const logSoftmaxOp: Op<undefined> = {
  name: "logSoftmax",
  meaning: {
    expand: ([x]) => {
      const most = amax(x!, last)
      return sub(sub(x!, most), log(sum(exp(sub(x!, most)), last)))
    },
  },
  result: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
  vjp: (dy, y) => [sub(dy, mul(exp(y), sum(dy, last)))],
  batched: along(0, 0),
  template,
}

function alongAxis(op: Op<undefined>, x: Tensor, axis: number): Tensor {
  const a = axisOf(op.name, axis, x.rank)
  if (!isFloat(x.dtype)) fail("dtype", op.name, `needs floats, got ${x.dtype}`, "cast to f32 first")
  if (x.size === 0) return x
  const moved = castTo(moveAxis(x, a, -1), x.dtype === "f64" ? "f64" : "f32")
  const columns = x.shape[a]!
  const y = apply(op, [reshape(moved, [sizeOf(x.shape) / columns, columns])], undefined)
  return castTo(moveAxis(reshape(y, moved.shape), -1, a), x.dtype)
}

/** exp(x) divided by its sum along an axis; NaN where all are -∞. f16 and bf16 are computed in f32. */
export const softmax = (x: Tensor, axis = -1): Tensor => alongAxis(softmaxOp, x, axis)
/** Logarithm of {@link softmax}, without underflow. */
export const logSoftmax = (x: Tensor, axis = -1): Tensor => alongAxis(logSoftmaxOp, x, axis)
