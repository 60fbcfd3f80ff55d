import { add, castTo, fail, layerNorm, mul, narrow, permute, reshape, rmsNorm, rope, showShape, tanh, type Rotation, type Tensor, type Weight } from "@thimble/core"
import { architectureOf, moduleName, type Architecture } from "./architecture.ts"
import { joinHeads, look, splitHeads, type LookOptions } from "./attend.ts"
import { throughCache, type CacheType } from "./cache.ts"
import { activations, type BlockRole, type Config, type ModelRole } from "./config.ts"
import { blockShape, type BlockShape } from "./shapes.ts"

/** Sees what goes into each matrix, by the name of its module: x [batch, length, columns], a node of the graph being built. */
export type Observe = (path: string, x: Tensor) => void

/** What the parts of a forward pass are made of. */
export interface Parameters {
  readonly config: Config
  /** Matrices by the names of their modules. */
  readonly weights: Readonly<Record<string, Weight>>
  /** Norms and biases by their full names. */
  readonly vectors: Readonly<Record<string, Tensor>>
}

/** How blocks see positions. */
export interface Pass {
  /** Tables that turn queries and keys; none where positions are learned. */
  readonly turns?: Rotation
  /** How queries look at keys and values [batch, heads, length, headSize]. */
  attend(q: Tensor, k: Tensor, v: Tensor, layer: number, how: LookOptions): Tensor
  readonly observe?: Observe
}

/** Whole sequences, each looking at nothing but itself. */
export const wholeSequences = (config: Config, mask?: Tensor, cache?: CacheType): Pass["attend"] => (q, k, v, layer, how) => {
  const { keys, values } = cache === undefined ? { keys: k, values: v } : throughCache(config, layer, cache, k, v)
  return look(q, keys, values, { ...how, window: config.windows?.[layer] ?? 0, ...(mask && { mask }) })
}

/** Applies a matrix and its bias. */
function linear({ weights, vectors }: Parameters, path: string, x: Tensor, observe: Observe | undefined): Tensor {
  const weight = weights[path] ?? fail("value", "forward", `the model has no weight '${path}'`)
  observe?.(path, x)
  const y = weight.apply(x), bias = vectors[`${path}.bias`]
  return bias === undefined ? y : add(y, bias)
}

/** Applies the norm of a name. */
function normed({ config: { eps }, vectors }: Parameters, a: Architecture, path: string, x: Tensor): Tensor {
  const weight = vectors[`${path}.weight`] ?? fail("value", "forward", `the model has no norm '${path}'`)
  if (a.norm === "layer") return layerNorm(x, weight, vectors[`${path}.bias`], { eps })
  return rmsNorm(x, a.onePlus ? add(castTo(weight, "f32"), 1) : weight, { eps })
}

/** ids [batch, length] → the residual stream [batch, length, width]. `positions` are needed where they are learned, `segments` by encoders. */
export function embed(m: Parameters, ids: Tensor, positions: Tensor, segments?: Tensor): Tensor {
  const { config, weights } = m, a = architectureOf(config)
  if (ids.rank !== 2) fail("shape", "forward", `ids are [batch, length], got ${showShape(ids.shape)}`)
  const rows = (role: ModelRole, at: Tensor): Tensor => (weights[moduleName(a, role)] ?? fail("value", "forward", `the model has no weight '${moduleName(a, role)}'`)).rows(at)
  let x = rows("embedding", ids)
  if (a.scaledEmbedding) x = mul(x, Math.fround(Math.sqrt(config.width)))
  if (a.names.positions !== undefined && ids.shape[1]! > config.context) fail("shape", "forward", `${ids.shape[1]!} tokens, but the model has learned ${config.context} positions`)
  if (a.names.positions !== undefined) x = add(x, rows("positions", positions))
  if (segments !== undefined && a.names.segments !== undefined) x = add(x, rows("segments", segments))
  return a.names.embeddingNorm === undefined ? x : normed(m, a, moduleName(a, "embeddingNorm"), x)
}

/** One block: the residual stream [batch, length, width] before it → after it. */
export function runBlock(m: Parameters, layer: number, x: Tensor, pass: Pass): Tensor {
  const { config } = m, a = architectureOf(config), shape = blockShape(config, layer)
  const has = (role: BlockRole): boolean => a.block[role] !== undefined
  const name = (role: BlockRole): string => moduleName(a, role, layer)
  const norm = (role: BlockRole, x: Tensor): Tensor => (has(role) ? normed(m, a, name(role), x) : x)
  const apply = (role: BlockRole, x: Tensor): Tensor => linear(m, name(role), x, pass.observe)
  const attended = (x: Tensor): Tensor => {
    const [q, k, v] = has("qkv") ? splitFused(apply("qkv", x), shape, config.headSize, a.fused)
      : ([["query", shape.heads], ["key", shape.kvHeads], ["value", shape.kvHeads]] as const).map(([role, heads]) => splitHeads(apply(role, x), heads)) as [Tensor, Tensor, Tensor]
    const placed = (role: BlockRole, x: Tensor): Tensor => (pass.turns === undefined ? norm(role, x) : rope(norm(role, x), pass.turns))
    const seen = pass.attend(placed("queryNorm", q), placed("keyNorm", k), v, layer, {
      scale: config.scale ?? 1 / Math.sqrt(config.headSize), bidirectional: a.bidirectional === true,
      ...(config.attentionCap !== undefined && { cap: config.attentionCap }),
    })
    return apply("output", joinHeads(seen))
  }
  const fed = (x: Tensor): Tensor => {
    const bend = activations[config.activation]
    if (has("gateUp")) {
      const both = apply("gateUp", x)
      return apply("down", mul(bend(narrow(both, -1, 0, shape.hidden)), narrow(both, -1, shape.hidden, shape.hidden)))
    }
    return apply("down", has("gate") ? mul(bend(apply("gate", x)), apply("up", x)) : bend(apply("up", x)))
  }
  if (a.postNorm) {
    const middle = norm("attentionNorm", add(x, attended(x)))
    return norm("feedNorm", add(middle, fed(middle)))
  }
  const first = norm("attentionNorm", x)
  if (config.parallel) return add(x, add(attended(first), fed(has("feedNorm") ? norm("feedNorm", x) : first)))
  const middle = add(x, norm("attentionPostNorm", attended(first)))
  return add(middle, norm("feedPostNorm", fed(norm("feedNorm", middle))))
}

/** Queries, keys and values out of one matrix's result [batch, length, (heads + 2·kvHeads)·headSize]. */
function splitFused(x: Tensor, { heads, kvHeads }: BlockShape, headSize: number, fused: Architecture["fused"]): [Tensor, Tensor, Tensor] {
  if (fused === "heads") {
    const [batch, t] = x.shape as [number, number]
    const apart = permute(reshape(x, [batch, t, heads, 3, headSize]), [3, 0, 2, 1, 4])
    return [0, 1, 2].map((i) => reshape(narrow(apart, 0, i, 1), [batch, heads, t, headSize])) as [Tensor, Tensor, Tensor]
  }
  const own = kvHeads * headSize, q = heads * headSize
  return [splitHeads(narrow(x, -1, 0, q), heads), splitHeads(narrow(x, -1, q, own), kvHeads), splitHeads(narrow(x, -1, q + own, own), kvHeads)]
}

/** The residual stream as the head reads it. */
export function finish(m: Parameters, x: Tensor): Tensor {
  const a = architectureOf(m.config)
  return a.names.norm === undefined ? x : normed(m, a, moduleName(a, "norm"), x)
}

/** Logits [..., vocabulary] of what {@link finish} gives. */
export function logits(m: Parameters, x: Tensor, observe?: Observe): Tensor {
  const { config, weights, vectors } = m, a = architectureOf(config)
  if (config.headless) return fail("value", "forward", "the model has no head", "its hidden() gives the stream of the last block")
  let h = x
  if (a.names.headTransform !== undefined) h = activations[config.activation](linear(m, moduleName(a, "headTransform"), h, observe))
  if (a.names.headNorm !== undefined) h = normed(m, a, moduleName(a, "headNorm"), h)
  const head = moduleName(a, "head"), path = config.tied ? moduleName(a, "embedding") : head
  observe?.(path, h)
  const y = (weights[path] ?? fail("value", "forward", `the model has no weight '${path}'`)).apply(h), bias = vectors[`${head}.bias`]
  const all = bias === undefined ? y : add(y, bias)
  return config.logitCap === undefined ? all : mul(tanh(mul(all, 1 / config.logitCap)), config.logitCap)
}
