import { add, arange, attention, gt, le, logicalAnd, matmul, mul, permute, reshape, softmax, sub, tanh, transpose, where, type Tensor } from "@thimble/core"

export interface LookOptions {
  /** Factor of the scores. */
  readonly scale: number
  /** Scores are held within ±cap. */
  readonly cap?: number
  /** How many keys a query looks back on, itself included; 0 is all. */
  readonly window?: number
  /** Every query sees every key, but for the mask. */
  readonly bidirectional?: boolean
  /** Position of the first query among the keys. */
  readonly offset?: number | Tensor
  /** Which keys queries see (bool), besides: broadcasts to [batch, heads, queries, keys]. */
  readonly mask?: Tensor
  /** The mask says all: no key is hidden for its position. */
  readonly unordered?: boolean
  /** Number of keys that count. */
  readonly length?: Tensor
}

/** Attention of q [batch, heads, tq, d] on keys and values [batch, kvHeads, tk, d]: [batch, heads, tq, d]. */
export function look(q: Tensor, k: Tensor, v: Tensor, { scale, cap, window = 0, bidirectional = false, offset = 0, mask, unordered = false, length }: LookOptions): Tensor {
  const causal = !bidirectional && !unordered
  if (cap !== undefined) return cappedLook(q, k, v, { scale, cap, window, offset, causal, ...(mask && { mask }), ...(length && { length }) })
  return attention(q, k, v, { scale, causal, ...(causal && { window, qOffset: offset }), ...(mask && { mask }), ...(length && { length }) })
}

/** Attention whose scores are capped before keys are hidden (Gemma 2), which no kernel does in one. */
function cappedLook(q: Tensor, k: Tensor, v: Tensor, options: Shown): Tensor {
  const [batch, heads, tq] = q.shape as [number, number, number, number], [, kvHeads, tk] = v.shape as [number, number, number]
  const grouped = reshape(shares(q, k, options), [batch, kvHeads, (heads / kvHeads) * tq, tk])
  return reshape(matmul(grouped, v), [batch, heads, tq, v.shape[3]!])
}

interface Shown { readonly scale: number; readonly cap?: number; readonly window: number; readonly offset: number | Tensor; readonly causal: boolean; readonly mask?: Tensor; readonly length?: Tensor }
/** How much each query takes of each key, [batch, heads, queries, keys]: what {@link look} weighs values with. */
export const attentionMap = (q: Tensor, k: Tensor, { bidirectional = false, unordered = false, window = 0, offset = 0, ...o }: LookOptions): Tensor =>
  shares(q, k, { ...o, window, offset, causal: !bidirectional && !unordered })

function shares(q: Tensor, k: Tensor, o: Shown): Tensor {
  const [batch, heads, tq, d] = q.shape as [number, number, number, number], [, kvHeads, tk] = k.shape as [number, number, number]
  const scores = matmul(reshape(q, [batch, kvHeads, (heads / kvHeads) * tq, d]), transpose(k))
  const held = reshape(o.cap === undefined ? mul(scores, o.scale) : mul(tanh(mul(scores, o.scale / o.cap)), o.cap), [batch, heads, tq, tk])
  const key = arange(tk), query = add(reshape(arange(tq), [tq, 1]), o.offset)
  const seen = [
    ...(o.causal ? [le(key, query)] : []),
    ...(o.causal && o.window > 0 ? [gt(key, sub(query, o.window))] : []),
    ...(o.length ? [gt(o.length, key)] : []),
    ...(o.mask ? [o.mask] : []),
  ]
  return softmax(seen.length === 0 ? held : where(seen.reduce(logicalAnd), held, -Infinity))
}

/** [batch, t, heads·size] → [batch, heads, t, size]. */
export function splitHeads(x: Tensor, heads: number): Tensor {
  const [batch, t, width] = x.shape as [number, number, number]
  return permute(reshape(x, [batch, t, heads, width / heads]), [0, 2, 1, 3])
}
/** [batch, heads, t, size] → [batch, t, heads·size]. */
export function joinHeads(x: Tensor): Tensor {
  const [batch, heads, t, size] = x.shape as [number, number, number, number]
  return reshape(permute(x, [0, 2, 1, 3]), [batch, t, heads * size])
}
