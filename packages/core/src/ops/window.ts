import { scalarOf } from "../dtype.ts"
import { fail } from "../errors.ts"
import { add, and, constant, div, eq, ge, int, le, max, min, mul, rem, select, sub, type Expr } from "../expr.ts"
import { axisOf, sizeOf, type Shape } from "../shape.ts"
import { apply, type Op, type Tensor } from "../tensor.ts"
import { expand, permute, reshape } from "./movement.ts"
import { moveAxis } from "./arrange.ts"
import { sum } from "./reduce.ts"

/**
 * Windows that slide over spatial axes, one number per axis: window o has its cell k at input o·stride + k·dilation −
 * padding. Cells outside the input read `fill`.
 */
export interface Sliding {
  readonly kernel: Shape
  readonly stride: readonly number[]
  readonly dilation: readonly number[]
  readonly padding: readonly number[]
  readonly input: Shape
  readonly output: Shape
  readonly fill: number
}

/** [b, ...kernel, ...input] → [b, ...kernel, ...output]: cell k of window o, read from copy k of the input. */
const pickOp: Op<Sliding> = {
  name: "pick",
  cheap: true,
  meaning: {
    at: (read, out, node, w) => {
      const nothing = constant(scalarOf(node.dtype), w.fill), rank = w.kernel.length
      if (sizeOf(node.sources[0]!.shape) === 0) return nothing
      let inside: Expr = constant("bool", 1)
      const coords = w.input.map((n, i) => {
        const at = add(add(mul(out[1 + rank + i]!, int(w.stride[i]!)), mul(out[1 + i]!, int(w.dilation[i]!))), int(-w.padding[i]!))
        inside = and(inside, and(ge(at, int(0)), le(at, int(n - 1))))
        return max(min(at, int(n - 1)), int(0))
      })
      return select(inside, read(0, [...out.slice(0, 1 + rank), ...coords]), nothing)
    },
  },
  result: ([x], w) => ({ shape: [x!.shape[0]!, ...w.kernel, ...w.output], dtype: x!.dtype }),
  vjp: (dy, _out, _src, w) => [apply(spreadOp, [dy], w)],
}
/** The transpose of pick: [b, ...kernel, ...output] → [b, ...kernel, ...input], zero where no window has its cell k. */
const spreadOp: Op<Sliding> = {
  name: "spread",
  cheap: true,
  meaning: {
    at: (read, out, node, w) => {
      const zero = constant(scalarOf(node.dtype), 0), rank = w.kernel.length
      if (sizeOf(node.sources[0]!.shape) === 0) return zero
      let inside: Expr = constant("bool", 1)
      const coords = w.output.map((n, i) => {
        const by = int(w.stride[i]!), last = int((n - 1) * w.stride[i]!)
        const at = sub(add(out[1 + rank + i]!, int(w.padding[i]!)), mul(out[1 + i]!, int(w.dilation[i]!)))
        const held = max(min(at, last), int(0))
        inside = and(inside, and(and(ge(at, int(0)), le(at, last)), eq(rem(held, by), int(0))))
        return div(held, by)
      })
      return select(inside, read(0, [...out.slice(0, 1 + rank), ...coords]), zero)
    },
  },
  result: ([x], w) => ({ shape: [x!.shape[0]!, ...w.kernel, ...w.input], dtype: x!.dtype }),
  vjp: (dy, _out, _src, w) => [apply(pickOp, [dy], { ...w, fill: 0 })],
}

/** All windows of x [b, ...input], without copying: [b, ...kernel, ...output]. */
export function windows(x: Tensor, w: Sliding): Tensor {
  const b = x.shape[0]!
  return apply(pickOp, [expand(reshape(x, [b, ...w.kernel.map(() => 1), ...w.input]), [b, ...w.kernel, ...w.input])], w)
}
/** Adds window cells [b, ...kernel, ...output] up where they came from: [b, ...input]. The transpose of {@link windows}. */
export const overlapAdd = (cells: Tensor, w: Sliding): Tensor => sum(apply(spreadOp, [cells], w), { axis: w.kernel.map((_, i) => 1 + i) })

/** Windows of `size` along an axis, `step` apart: they take the axis' place, their elements become a new last axis. */
export function unfold(x: Tensor, axis: number, size: number, step: number): Tensor {
  const a = axisOf("unfold", axis, x.rank), n = x.shape[a]!
  if (!Number.isInteger(size) || size < 1 || size > n) fail("value", "unfold", `the size must be 1 … ${n} (axis ${axis}), got ${size}`)
  if (!Number.isInteger(step) || step < 1) fail("value", "unfold", `the step must be a whole number ≥ 1, got ${step}`)
  const rest = x.shape.filter((_, i) => i !== a), count = Math.floor((n - size) / step) + 1
  const cells = windows(reshape(moveAxis(x, a, -1), [sizeOf(rest), n]), { kernel: [size], stride: [step], dilation: [1], padding: [0], input: [n], output: [count], fill: 0 })
  const order = rest.map((_, i) => i)
  return permute(reshape(cells, [...rest, size, count]), [...order.slice(0, a), rest.length + 1, ...order.slice(a), rest.length])
}
