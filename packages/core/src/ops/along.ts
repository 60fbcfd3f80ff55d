import { apply, type Op, type Tensor } from "../tensor.ts"
import { moveAxis } from "./arrange.ts"
import { expand, reshape } from "./movement.ts"

// How an op runs over many examples (see `batched` of Op) and stays the op it is.

type Batched<A> = NonNullable<Op<A>["batched"]>

/** Of an op that takes any number of leading axes, as long as all sources have the same. */
export function leading<A>(src: readonly Tensor[], mapped: readonly boolean[], attrs: A, op: Op<A>): Tensor {
  const count = src[mapped.indexOf(true)]!.shape[0]!
  return apply(op, src.map((s, i) => (mapped[i] ? s : expand(s, [count, ...s.shape]))), attrs)
}

/**
 * Of an op that treats alike, and apart from each other, what one axis of its result counts, which is the same axis of
 * some `sources`: the rows of a softmax, the samples of a convolution. All examples stand side by side along it. The other
 * sources must be the same for all examples.
 */
export function along<A>(axis: number, ...sources: readonly number[]): Batched<A> {
  return (src, mapped, attrs, op) => {
    if (mapped.some((m, i) => m && !sources.includes(i))) return undefined
    const first = mapped.indexOf(true), [count, ...one] = src[first]!.shape as [number, ...number[]]
    // [count, ..., n, ...] → [..., count·n, ...], and back.
    const join = (x: Tensor): Tensor => reshape(moveAxis(x, 0, axis), [...x.shape.slice(1, axis + 1), count * one[axis]!, ...x.shape.slice(axis + 2)])
    const y = apply(op, src.map((s, i) => (sources.includes(i) ? join(mapped[i] ? s : expand(s, [count, ...s.shape])) : s)), attrs)
    return moveAxis(reshape(y, [...y.shape.slice(0, axis), count, one[axis]!, ...y.shape.slice(axis + 1)]), axis, 0)
  }
}
