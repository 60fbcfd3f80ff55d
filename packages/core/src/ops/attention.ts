import { isFloat, promote, type DType } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { broadcastShapes, sameShape, type Shape } from "../shape.ts"
import { apply, type Op, type Tensor } from "../tensor.ts"
import { along } from "./along.ts"
import { arange, full, zeros } from "./create.ts"
import { add, castTo, gt, le, logicalAnd, lt, mul, sub, where } from "./elementwise.ts"
import { matmul } from "./matmul.ts"
import { expand, reshape, transpose } from "./movement.ts"
import { sum } from "./reduce.ts"
import { softmax } from "./softmax.ts"

export interface AttentionOptions {
  /** A query sees no key after its own position. */
  readonly causal?: boolean
  /** Position of the first query among the keys, 0 unless given; as a 0-d tensor it is a run-time value, and may change without a new program. */
  readonly qOffset?: number | Tensor
  /** Factor of the scores; 1/√d unless given. */
  readonly scale?: number
  /** A query sees only this many keys, the last of them at its own position. Causal attention only. */
  readonly window?: number
  /** Which keys a query sees (bool), or what is added to its scores; broadcasts to [batch, heads, queries, keys]. */
  readonly mask?: Tensor
  /** Number of keys that count (0-d): the filled part of a cache. */
  readonly length?: Tensor
}

/** `mask`, `length`, `qOffset`: which source they are, if they are there; a fixed offset is `position`. */
interface Attributes {
  readonly causal: boolean
  readonly window: number
  readonly scale: number
  readonly position: number
  readonly mask?: number
  readonly length?: number
  readonly qOffset?: number
}

/** [batch, heads, t, d] with the heads that share a key head side by side: [batch, kvHeads, heads/kvHeads · t, d]. */
const grouped = (x: Tensor, kvHeads: number): Tensor => reshape(x, [x.shape[0]!, kvHeads, (x.shape[1]! / kvHeads) * x.shape[2]!, x.shape[3]!])

/** Softmax of the scores, grouped: [batch, kvHeads, heads/kvHeads · tq, tk]. */
function probabilities(src: readonly Tensor[], { causal, window, scale, position, ...at }: Attributes): Tensor {
  const [q, k] = src as [Tensor, Tensor]
  const [batch, heads, tq] = q.shape as [number, number, number], [, kvHeads, tk] = k.shape as [number, number, number]
  let scores = reshape(mul(matmul(grouped(q, kvHeads), transpose(k)), scale), [batch, heads, tq, tk])
  if (at.mask !== undefined) scores = add(scores, src[at.mask]!)
  const key = arange(tk), query = add(reshape(arange(tq), [tq, 1]), at.qOffset === undefined ? position : src[at.qOffset]!)
  const seen = [
    ...(causal ? [le(key, query)] : []),
    ...(window > 0 ? [gt(key, sub(query, window))] : []),
    ...(at.length === undefined ? [] : [lt(key, src[at.length]!)]),
  ]
  if (seen.length > 0) scores = where(seen.reduce(logicalAnd), scores, -Infinity)
  return softmax(grouped(scores, kvHeads))
}

/** q [batch, heads, tq, d], k [batch, kvHeads, tk, d], v [batch, kvHeads, tk, dv] → [batch, heads, tq, dv]. */
const attentionOp: Op<Attributes> = {
  name: "attention",
  meaning: {
    expand: (src, a) => {
      const [q, , v] = src as [Tensor, Tensor, Tensor]
      return reshape(matmul(probabilities(src, a), v), [...q.shape.slice(0, 3), v.shape[3]!])
    },
  },
  result: ([q, , v]) => ({ shape: [...q!.shape.slice(0, 3), v!.shape[3]!], dtype: q!.dtype }),
  vjp: (dy, _out, src, a) => {
    const [q, k, v] = src as [Tensor, Tensor, Tensor], kvHeads = k.shape[1]!
    const p = probabilities(src, a), slope = grouped(dy, kvHeads), dp = matmul(slope, transpose(v))
    // Σ p·dp is also ⟨dy, out⟩, but only this way it cancels dp exactly where one key takes all.
    const dScores = mul(p, sub(dp, sum(mul(p, dp), { axis: -1, keepDims: true })))
    const grads = [
      reshape(mul(matmul(dScores, k), a.scale), q.shape),
      mul(matmul(transpose(dScores), grouped(q, kvHeads)), a.scale),
      matmul(transpose(p), slope),
    ]
    return src.map((s, i) => grads[i] ?? (i === a.mask ? reshape(dScores, s.shape) : null))
  },
  batched: (src, mapped, a, op) => along<Attributes>(0, 0, 1, 2, ...(a.mask === undefined ? [] : [a.mask]))(src, mapped, a, op),
  template: {
    dims: ({ sources: [q, k, v] }, { causal, window, scale, position }) => {
      const [batch, heads, tq, d] = q!.shape as [number, number, number, number]
      return { batch, heads, kvHeads: k!.shape[1]!, tq, tk: k!.shape[2]!, d, dv: v!.shape[3]!, causal: Number(causal), window, scale, qOffset: position }
    },
    loads: ({ sources }, { mask, length, qOffset }) => {
      const names = { q: 0, k: 1, v: 2, ...(mask === undefined ? {} : { mask }), ...(length === undefined ? {} : { length }), ...(qOffset === undefined ? {} : { qOffset }) }
      return Object.fromEntries(Object.entries(names).map(([name, source]) => [name, { source, shape: sources[source]!.shape, coords: (i) => [...i] }]))
    },
  },
}

function checkShapes(q: Tensor, k: Tensor, v: Tensor): void {
  const shapes = `q ${showShape(q.shape)}, k ${showShape(k.shape)}, v ${showShape(v.shape)}`
  const bad = (problem: string, hint?: string): never => fail("shape", "attention", `${problem}, ${shapes}`, hint)
  if (q.rank !== 4 || k.rank !== 4 || v.rank !== 4) bad("needs [batch, heads, positions, features]", "unsqueeze a batch of one")
  if (q.shape[0] !== k.shape[0] || !sameShape(k.shape.slice(0, 3), v.shape.slice(0, 3))) bad("batches, key heads or keys differ")
  if (q.shape[3] !== k.shape[3]) bad(`q and k differ in features (${q.shape[3]!} ≠ ${k.shape[3]!})`)
  if (k.shape[1] === 0 || q.shape[1]! % k.shape[1]! !== 0) bad(`${q.shape[1]!} query heads are no multiple of ${k.shape[1]!} key heads`)
  for (const t of [q, k, v]) if (!isFloat(t.dtype)) fail("dtype", "attention", `needs floats, got ${t.dtype}`, "cast to f32 first")
}

/** A run-time position or length as 0-d i32. */
function count(name: string, t: Tensor): Tensor {
  if (t.size !== 1) fail("shape", "attention", `${name} must be one number, got ${showShape(t.shape)}`)
  return castTo(reshape(t, []), "i32")
}
/** A mask as numbers to add to the scores. */
function additive(mask: Tensor, shape: Shape, dtype: DType): Tensor {
  if (!sameShape(broadcastShapes("attention", mask.shape, shape), shape)) fail("shape", "attention", `the mask ${showShape(mask.shape)} does not broadcast to ${showShape(shape)}`)
  if (mask.dtype !== "bool" && !isFloat(mask.dtype)) fail("dtype", "attention", `the mask must be bool or float, got ${mask.dtype}`)
  return expand(mask.dtype === "bool" ? where(mask, zeros([], dtype), full([], -Infinity, dtype)) : castTo(mask, dtype), shape)
}

/**
 * softmax(q·kᵀ·scale + mask)·v for q [batch, heads, tq, d], k [batch, kvHeads, tk, d] and v [batch, kvHeads, tk, dv]; the
 * heads are a multiple of kvHeads, and neighbours share one (Ainslie et al., 2023, arXiv:2305.13245). A query that sees no
 * key gives NaN. f16 and bf16 are computed in f32.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  checkShapes(q, k, v)
  const { causal = false, qOffset = 0, scale = 1 / Math.sqrt(q.shape[3]!), window = 0, mask, length } = options
  if (!Number.isInteger(window) || window < 0) fail("value", "attention", `the window must be a whole number ≥ 0, got ${window}`)
  if (window > 0 && !causal) fail("value", "attention", "a window needs causal attention")
  if (typeof qOffset === "number" && !Number.isInteger(qOffset)) fail("value", "attention", `qOffset must be a whole number, got ${qOffset}`)
  if (!Number.isFinite(scale)) fail("value", "attention", `the scale must be finite, got ${scale}`)
  const dtype = [q, k, v].map((t) => t.dtype).reduce(promote), wide = dtype === "f64" ? "f64" : "f32"
  const src = [q, k, v].map((t) => castTo(t, wide))
  const attrs: Attributes = {
    causal, window, scale, position: typeof qOffset === "number" ? qOffset : 0,
    ...(mask && { mask: src.push(additive(mask, [...q.shape.slice(0, 3), k.shape[2]!], wide)) - 1 }),
    ...(length && { length: src.push(count("length", length)) - 1 }),
    ...(typeof qOffset === "object" && causal && { qOffset: src.push(count("qOffset", qOffset)) - 1 }),
  }
  return castTo(apply(attentionOp, src, attrs), dtype)
}
