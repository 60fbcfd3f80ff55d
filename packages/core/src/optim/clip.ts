import { isFloat } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { mul } from "../expr.ts"
import { full } from "../ops/create.ts"
import { add, castTo, clamp, div, minimum, mul as times, square } from "../ops/elementwise.ts"
import { sqrt } from "../ops/math.ts"
import { expand, stack } from "../ops/movement.ts"
import { sum } from "../ops/reduce.ts"
import { apply, Tensor, type Op } from "../tensor.ts"
import { mapTree, tensorsOf } from "../tree.ts"

/** Operands of one kernel that adds up per-tensor sums; devices bind few buffers at a time. */
const ARITY = 6

/** Sum of numbers, by a tree of small sums. */
function total(parts: readonly Tensor[]): Tensor {
  if (parts.length === 0) return full([], 0)
  if (parts.length === 1) return parts[0]!
  const next: Tensor[] = []
  for (let i = 0; i < parts.length; i += ARITY) next.push(parts.length - i === 1 ? parts[i]! : sum(stack(parts.slice(i, i + ARITY))))
  return total(next)
}

/** √(Σ g²) over all float tensors of a tree, each once; 0-d, f32 (f64 if all of them are). */
export function globalNorm(tree: unknown): Tensor {
  const list = [...new Set(tensorsOf(tree))].filter((t) => isFloat(t.dtype))
  const dtype = list.length > 0 && list.every((t) => t.dtype === "f64") ? "f64" : "f32"
  return sqrt(total(list.map((t) => castTo(sum(square(t.dtype === "f64" ? t : castTo(t, "f32"))), dtype))))
}

/** A product that its readers compute again: storing scaled gradients would cost more than multiplying them twice. */
const scaleOp: Op<undefined> = {
  name: "scale",
  cheap: true,
  meaning: { scalar: ([x, share]) => mul(x!, share!) },
  result: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
  vjp: (dy, _out, [x, share]) => [times(dy, share!), times(dy, x!)],
}
const scale = (x: Tensor, share: Tensor): Tensor => apply(scaleOp, [x, expand(castTo(share, x.dtype), x.shape)], undefined)

/**
 * Scales gradients together so that their common norm is at most `maxNorm` (Pascanu et al. 2013), by
 * min(1, maxNorm/(norm + 1e-6)) as in torch. `norm` is the norm before; if it is not finite, neither are the gradients.
 */
export function clipGradNorm<T>(grads: T, maxNorm: number | Tensor): { grads: T; norm: Tensor } {
  checkBound("clipGradNorm", "maxNorm", maxNorm)
  const norm = globalNorm(grads)
  const share = minimum(div(maxNorm, add(norm, 1e-6)), 1)
  return { grads: mapFloats(grads, (g) => (g.dtype === "f64" ? scale(g, share) : castTo(scale(castTo(g, "f32"), share), g.dtype))), norm }
}

/** Holds every element of the gradients within −maxValue … maxValue. */
export function clipGradValue<T>(grads: T, maxValue: number): T {
  checkBound("clipGradValue", "maxValue", maxValue)
  return mapFloats(grads, (g) => clamp(g, -maxValue, maxValue))
}

function checkBound(op: string, what: string, bound: number | Tensor): void {
  if (bound instanceof Tensor ? bound.rank !== 0 : !(bound > 0))
    fail("value", op, `${what} must be > 0, got ${bound instanceof Tensor ? `${bound.dtype}${showShape(bound.shape)}` : String(bound)}`, "Infinity clips nothing")
}

/** Maps the float tensors of a tree; a tensor at two places stays one. */
export function mapFloats<T>(tree: T, fn: (t: Tensor) => Tensor): T {
  const made = new Map<Tensor, Tensor>()
  return mapTree(tree, (t) => {
    if (!isFloat(t.dtype)) return t
    let y = made.get(t)
    if (y === undefined) made.set(t, (y = fn(t)))
    return y
  })
}
