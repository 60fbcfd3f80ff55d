import { isFloat } from "./dtype.ts"
import { fail, showShape } from "./errors.ts"
import { add } from "./ops/elementwise.ts"
import { onesLike, zerosLike } from "./ops/create.ts"
import { sameShape } from "./shape.ts"
import { apply, checkTensor, type Op, type Tensor } from "./tensor.ts"
import { mapTree, tensorsOf } from "./tree.ts"

/**
 * Reverse-mode differentiation, graph to graph: the gradients of `sum(loss · seed)` by `tensors`, as new lazy tensors
 * (so they can be differentiated again). A tensor that the loss does not depend on gets zeros.
 */
export function grad(loss: Tensor, tensors: readonly Tensor[], seed?: Tensor): Tensor[] {
  checkTensor("grad", loss, "the loss must be a tensor of one element")
  if (!Array.isArray(tensors)) fail("value", "grad", "needs a list of tensors to differentiate by", "grad(loss, [w])")
  for (const t of tensors) checkTensor("grad", t)
  if (seed === undefined && loss.size !== 1) fail("shape", "grad", `the loss must have one element, got ${showShape(loss.shape)}`, "sum or average it, or pass a seed")
  if (seed !== undefined && !sameShape(seed.shape, loss.shape)) fail("shape", "grad", `seed ${showShape(seed.shape)} does not fit loss ${showShape(loss.shape)}`)
  if (!isFloat(loss.dtype)) fail("dtype", "grad", `the loss must be a float, got ${loss.dtype}`)
  if (seed !== undefined && seed.dtype !== loss.dtype) fail("dtype", "grad", `the seed is ${seed.dtype}, the loss ${loss.dtype}`, `cast the seed to ${loss.dtype}`)
  for (const t of tensors) if (!isFloat(t.dtype)) fail("dtype", "grad", `cannot differentiate by a tensor of ${t.dtype}`)
  const found = backward(loss, seed ?? onesLike(loss), tensors)
  return tensors.map((t) => found.get(t) ?? zerosLike(t))
}

function backward(out: Tensor, seed: Tensor, targets: readonly Tensor[]): Map<Tensor, Tensor> {
  const wanted = new Set(targets)
  const order = reaching(out, wanted)
  const grads = new Map<Tensor, Tensor>()
  if (order.length > 0) grads.set(out, seed)
  const give = (t: Tensor, g: Tensor | null | undefined, from: Op): void => {
    if (g === null || g === undefined || !isFloat(t.dtype)) return
    if (!sameShape(g.shape, t.shape) || g.dtype !== t.dtype)
      fail("internal", from.name, `gradient ${g.dtype}${showShape(g.shape)} of operand ${t.dtype}${showShape(t.shape)}`)
    const before = grads.get(t)
    grads.set(t, before === undefined ? g : add(before, g))
  }
  const live = new Set(order)
  for (let i = order.length - 1; i >= 0; i--) {
    const t = order[i]!
    const dy = grads.get(t)
    if (dy === undefined || !t.sources.some((s) => live.has(s))) continue
    const { op } = t
    if (op.vjp !== undefined) op.vjp(dy, t, t.sources, t.attrs).forEach((g, k) => live.has(t.sources[k]!) && give(t.sources[k]!, g, op))
    else if ("expand" in op.meaning) {
      const again = new Map(t.sources.map((s) => [s, op.recomputed && isFloat(s.dtype) ? apply(afterOp, [s, dy], undefined) : s]))
      const sources = [...again.keys()].filter((s) => live.has(s))
      const inner = backward(op.meaning.expand(t.sources.map((s) => again.get(s)!), t.attrs), dy, sources.map((s) => again.get(s)!))
      const found = sources.map((s) => inner.get(again.get(s)!))
      // The pass goes on with the first operand's gradient: once the others are there, what was computed again can go.
      if (op.recomputed) found[0] = found.slice(1).reduce((g, other) => (g && other ? after(g, other) : g), found[0])
      sources.forEach((s, i) => give(s, found[i], op))
    } else fail("grad", op.name, "has no gradient", "stopGradient its result if none should flow")
    if (!wanted.has(t)) grads.delete(t)
  }
  return grads
}

/** Tensors on a path from the targets to `out`, sources first. Iterative: graphs of training loops are deep. */
function reaching(out: Tensor, targets: ReadonlySet<Tensor>): Tensor[] {
  const order: Tensor[] = []
  const reaches = new Map<Tensor, boolean>()
  const next = new Map<Tensor, number>()
  const stack = [out]
  while (stack.length > 0) {
    const t = stack[stack.length - 1]!
    const n = next.get(t) ?? 0
    if (n < t.sources.length) {
      next.set(t, n + 1)
      const s = t.sources[n]!
      if (!next.has(s)) stack.push(s)
      continue
    }
    stack.pop()
    if (n === 0) next.set(t, 0)
    if (reaches.has(t)) continue
    const yes = targets.has(t) || t.sources.some((s) => reaches.get(s) === true)
    reaches.set(t, yes)
    if (yes) order.push(t)
  }
  return order
}

/** `fn` with gradients: returns its value (one element) and the gradient of every float tensor of its first argument, as a tree of the same form. */
export function valueAndGrad<P, A extends readonly unknown[]>(fn: (parameters: P, ...rest: A) => Tensor): (parameters: P, ...rest: A) => { value: Tensor; grads: P } {
  if (typeof fn !== "function") fail("value", "valueAndGrad", `needs a function, got ${typeof fn}`)
  return (parameters, ...rest) => {
    const value = fn(parameters, ...rest)
    const leaves = [...new Set(tensorsOf(parameters))].filter((t) => isFloat(t.dtype))
    const grads = new Map(grad(value, leaves).map((g, i) => [leaves[i]!, g]))
    return { value, grads: mapTree(parameters, (t) => grads.get(t) ?? t) }
  }
}

const stopOp: Op<undefined> = {
  name: "stopGradient",
  cheap: true,
  meaning: { scalar: ([x]) => x! },
  result: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
  vjp: () => [null],
}
/** The same value, seen by differentiation as a constant. */
export const stopGradient = (x: Tensor): Tensor => apply(stopOp, [x], undefined)

type Rule = { forward(...src: Tensor[]): Tensor; backward(dy: Tensor, out: Tensor, ...src: Tensor[]): (Tensor | null)[] }
const customOp: Op<Rule> = {
  name: "customVjp",
  meaning: { expand: (src, { forward }) => forward(...src) },
  result: (src, { forward }) => {
    const made = forward(...src)
    checkTensor("customVjp", made, "the forward function must return one")
    return { shape: made.shape, dtype: made.dtype }
  },
  vjp: (dy, out, src, rule) => {
    const grads = rule.backward(dy, out, ...src)
    if (grads.length !== src.length) fail("grad", "customVjp", `the backward rule gave ${grads.length} gradients for ${src.length} operands`)
    grads.forEach((g, i) => {
      const x = src[i]!
      if (g !== null && isFloat(x.dtype) && (!sameShape(g.shape, x.shape) || g.dtype !== x.dtype))
        fail("grad", "customVjp", `the backward rule gave ${g.dtype}${showShape(g.shape)} for operand ${i}, ${x.dtype}${showShape(x.shape)}`)
    })
    return grads
  },
}
/** A function of tensors with a gradient of its own (straight-through estimators and the like). */
export function customVjp(forward: Rule["forward"], backward: Rule["backward"]): (...src: Tensor[]) => Tensor {
  return (...src) => apply(customOp, src, { forward, backward })
}

/** The value of the first source, when the second is there. */
const afterOp: Op<undefined> = {
  name: "after",
  meaning: { at: (read, out) => read(0, out) },
  batched: (src) => apply(afterOp, src, undefined),
  result: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
  vjp: (dy) => [dy, null],
}
/**
 * The value of x, computed once `first` is: kernels run in the order in which values need each other, so this decides which
 * of two independent values is made, and its operands let go of, before the other.
 */
export const after = (x: Tensor, first: Tensor): Tensor => apply(afterOp, [x, first], undefined)

const checkpointOp: Op<(...src: Tensor[]) => Tensor> = {
  name: "checkpoint",
  recomputed: true,
  meaning: { expand: (src, fn) => fn(...src) },
  result: (src, fn) => {
    const made = fn(...src)
    checkTensor("checkpoint", made, "the function must return one")
    return { shape: made.shape, dtype: made.dtype }
  },
}
/**
 * Gradient checkpointing: nothing computed inside `fn` is kept for the backward pass; it is computed again there, once
 * the gradient of the result is known (Chen et al., 2016, arXiv:1604.06174), and let go of before the pass goes on to what the first
 * operand was made of. Tensors that `fn` captures count as constants: pass parameters as operands.
 */
export function checkpoint(fn: (...src: Tensor[]) => Tensor): (...src: Tensor[]) => Tensor {
  return (...src) => apply(checkpointOp, src, fn)
}

/**
 * Jacobian-vector product: the value of `fn` and its derivative in direction `tangents`, by differentiating the
 * (linear) backward pass once more.
 */
export function jvp(fn: (...x: Tensor[]) => Tensor, primals: readonly Tensor[], tangents: readonly Tensor[]): { value: Tensor; tangent: Tensor } {
  const value = fn(...primals)
  const dummy = zerosLike(value)
  const pulled = grad(value, primals, dummy)
  const along = pulled.map((g, i) => grad(g, [dummy], tangents[i]!)[0]!)
  return { value, tangent: along.reduce(add) }
}
