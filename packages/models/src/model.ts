import { add, arange, clamp, fail, literal, reshape, rotation, showShape, sub, take, Tensor, tensorsOf, unsqueeze, type Composed, type Rotation, type Weight } from "@thimble/core"
import type { GgufValue, Tokenizer } from "@thimble/formats"
import { architectureOf } from "./architecture.ts"
import { headlessConfig } from "./json.ts"
import { cacheLength, growAndLook, type Cache, type CacheType, type LayerCache } from "./cache.ts"
import { problemOf } from "./config-check.ts"
import type { Config } from "./config.ts"
import { expectedTensors } from "./expected.ts"
import { embed, finish, logits, runBlock, wholeSequences, type Observe, type Parameters, type Pass } from "./forward.ts"
import { traced, type Trace } from "./trace.ts"
import { blockLinks, type BlockLinks } from "./block-links.ts"
import { generate, type Generation, type GenerateOptions } from "./generate/generate.ts"
import type { Prompt } from "./generate/prompt.ts"
import { isLazy, type LazyWeight } from "./lazy.ts"
import { frequencies } from "./rope.ts"

export interface ForwardOptions {
  /** Sees what goes into each matrix. */
  readonly observe?: Observe
  /** Sees what each block makes of the stream, and how its heads look at each other. */
  readonly trace?: Trace
  /** Which tokens count (bool or 0/1) [batch, length]: encoders, whose texts are padded to one length. */
  readonly mask?: Tensor
  /** Which segment each token is of [batch, length]; the first unless given. Encoders. */
  readonly segments?: Tensor
  /** Keys and values are what a cache of this type gives back: what it costs, for `evaluate`. Of `int4` that is a bit more, as the latest tokens are rounded, too. */
  readonly cache?: CacheType
}

export interface StepOptions {
  /** Tokens in the cache so far: the number 0, or a run-time value (i32). */
  readonly position: 0 | Tensor
  /** How many of the ids count (a run-time value, i32), the ones behind being padding; all unless given. */
  readonly count?: Tensor
  /** Logits of one token only, by its place among the ids (a run-time value, i32, or one per sequence); of all unless given. */
  readonly at?: Tensor
  readonly observe?: Observe
}
/** What a step gives. */
export interface Stepped {
  /** [batch, length, vocabulary]; length is 1 where `at` chose. */
  readonly logits: Tensor
  readonly cache: Cache
}

/** A block of a model, to be run by itself. */
export interface Block {
  /** What the names of its modules begin with. */
  readonly path: string
  readonly layer: number
  /** Names of the modules that are matrices, in the order in which they are used. */
  readonly linears: readonly string[]
  readonly links: BlockLinks
  /** The residual stream [batch, length, width] of whole sequences, before the block → after it. */
  forward(x: Tensor, options?: Pick<ForwardOptions, "observe" | "mask">): Tensor
}

/**
 * A language model: an immutable value, made of a config and weights. Weights are stored in any way there is. As a branch of
 * a tree it is its tensors, by their names in checkpoints: compiled functions, gradients and optimizers take it as it is.
 */
export interface Model extends Parameters, ModelOptions, Composed {
  /** Elements of all weights and vectors, and what they are stored in. */
  readonly size: number
  readonly bytes: number
  /** Logits [batch, length, vocabulary] of the tokens that follow each of ids [batch, length], or, of encoders, stand there. */
  forward(ids: Tensor, options?: ForwardOptions): Tensor
  /** The residual stream [batch, length, width] after all blocks and the last norm. */
  hidden(ids: Tensor, options?: ForwardOptions): Tensor
  /** The next tokens of cached sequences. */
  step(ids: Tensor, cache: Cache, options: StepOptions): Stepped
  /** The residual stream before the first block. */
  embed(ids: Tensor, options?: Pick<ForwardOptions, "segments">): Tensor
  /** The residual stream after the last block → as the head reads it. */
  finish(x: Tensor): Tensor
  /** Logits of the residual stream after the last block. */
  head(x: Tensor, options?: Pick<ForwardOptions, "observe">): Tensor
  blocks(): readonly Block[]
  /** Goes on with a text, ids, or a conversation: {@link generate}. */
  generate(prompt: Prompt, options?: GenerateOptions): Generation
  /** An encoder without the head that fills in tokens: its `hidden` is what is left. */
  withoutHead(): Model
  /** The same model with matrices in memory that are still in their file (`loadModel` with `lazy`): those of some paths, or all. */
  loaded(paths?: Iterable<string>): Promise<Model>
  /** The same model with other weights (by module), or norms and biases (by full name), of the same shapes. */
  with(changed: Readonly<Record<string, Weight | Tensor>>, options?: ModelOptions): Model
}
/** What a model has besides what it computes with. */
export interface ModelOptions {
  readonly tokenizer?: Tokenizer
  /** Small files that belong to it, by name: config.json, tokenizer.json …; directories are written with them. */
  readonly files?: ReadonlyMap<string, Uint8Array>
  /** Metadata that belongs to it; GGUF files are written with it. */
  readonly metadata?: ReadonlyMap<string, GgufValue>
  /** The config that `files` and `metadata` state. Where the model's differs, they are written with what it says instead. */
  readonly stated?: Config
}

/** Makes a model of weights by module (`model.layers.0.mlp.up_proj`), and norms and biases by full name (`model.norm.weight`). */
export function createModel(config: Config, parameters: Readonly<Record<string, Weight | Tensor>>, options: ModelOptions = {}): Model {
  const problem = problemOf(config)
  if (problem !== undefined) fail("value", "createModel", problem)
  const { weights, vectors } = sorted(config, parameters)
  return build({ config, weights, vectors }, options)
}

/** Takes apart matrices and vectors, in the order in which they are used; what is missing, unknown or misshapen is listed in one error. */
function sorted(config: Config, given: Readonly<Record<string, Weight | Tensor>>): Pick<Parameters, "weights" | "vectors"> {
  const weights: Record<string, Weight> = {}, vectors: Record<string, Tensor> = {}
  const missing: string[] = [], unfit: string[] = [], known = new Set<string>()
  for (const { name, path, kind, shape } of expectedTensors(config)) {
    const key = kind === "matrix" ? path : name, value = given[key]
    known.add(key)
    if (value === undefined) missing.push(key)
    else if (value instanceof Tensor === (kind === "matrix")) unfit.push(`${key} is ${kind === "matrix" ? "a tensor, not a weight" : "a weight, not a tensor"}`)
    else if (String(value.shape) !== String(shape)) unfit.push(`${key} is ${showShape(value.shape)}, not ${showShape(shape)}`)
    else if (value instanceof Tensor) vectors[key] = value
    else weights[key] = value
  }
  const unknown = Object.keys(given).filter((key) => !known.has(key))
  const part = (what: string, names: readonly string[]): string => (names.length > 0 ? `${what}: ${names.join(", ")}` : "")
  const problems = [part("missing", missing), part("unknown", unknown), part("unfit", unfit)].filter((p) => p !== "")
  if (problems.length > 0) fail("value", "createModel", problems.join("; "), `the architecture is ${config.architecture}`)
  return { weights, vectors }
}

function build(m: Parameters, options: ModelOptions): Model {
  const { config, weights, vectors } = m, a = architectureOf(config)
  const turnsOf = (length: number, asked: number, offset: 0 | Tensor): Rotation | undefined => {
    const { rope } = config
    if (rope === undefined) return undefined
    const { rates, magnitude } = frequencies(rope, asked)
    return rotation(length, rope.features, { frequencies: literal(rates, "f32"), magnitude, offset })
  }
  const passOf = (x: Tensor, attend: Pass["attend"], observe: Observe | undefined): Pass => {
    const length = x.shape[1]!, turns = turnsOf(length, length, 0)
    return { attend, ...(turns && { turns }), ...(observe && { observe }) }
  }
  const padding = (mask: Tensor | undefined): Tensor | undefined => mask && reshape(mask.cast("bool"), [mask.shape[0]!, 1, 1, mask.shape[1]!])
  const start = (ids: Tensor, segments?: Tensor): Tensor => embed(m, ids, arange(ids.shape[1]!), segments ?? (a.names.segments === undefined ? undefined : ids.mul(0)))

  const hidden = (ids: Tensor, { observe, trace, mask, segments, cache }: ForwardOptions = {}): Tensor => {
    let x = start(ids, segments)
    const hides = padding(mask), pass = passOf(x, wholeSequences(config, hides, cache), observe)
    for (let layer = 0; layer < config.layers; layer++) x = trace === undefined ? runBlock(m, layer, x, pass) : traced(m, layer, x, pass, trace, hides)
    return finish(m, x)
  }

  const step = (ids: Tensor, cache: Cache, { position, count, at, observe }: StepOptions): Stepped => {
    if (a.bidirectional) fail("value", "step", `${config.architecture} sees whole texts, there is nothing to continue`)
    if (cache.layers.length !== config.layers) fail("shape", "step", `the cache has ${cache.layers.length} layers, the model ${config.layers}`)
    const length = ids.shape[1]!, { begin } = cache
    // Padding in front does not count as positions.
    const first = begin === undefined ? position : sub(position === 0 ? arange(1) : reshape(position, [1]), begin)
    const places = begin === undefined ? add(arange(length), position) : add(unsqueeze(first as Tensor, 1), arange(length))
    let x = embed(m, ids, clamp(places, 0, config.context - 1))
    const asked = cacheLength(cache)
    const turns = turnsOf(length, asked, begin === undefined ? position : unsqueeze(first as Tensor, 1))
    const layers: LayerCache[] = []
    const growth = { position, count: count ?? length, ...(begin && { begin }) }
    const pass: Pass = {
      ...(turns && { turns }), ...(observe && { observe }),
      attend(q, k, v, layer, how) {
        const { cache: grown, seen } = growAndLook(cache.layers[layer]!, growth, q, k, v, config.windows?.[layer] ?? 0, how)
        layers.push(grown)
        return seen
      },
    }
    for (let layer = 0; layer < config.layers; layer++) x = runBlock(m, layer, x, pass)
    return { logits: logits(m, finish(m, at === undefined ? x : rowsAt(x, at)), observe), cache: { layers, ...(begin && { begin }) } }
  }

  const parts = (): Record<string, Tensor> => {
    const out: Record<string, Tensor> = {}
    for (const [path, weight] of Object.entries(weights))
      for (const [part, t] of Object.entries(weight.parts())) out[part === "values" ? `${path}.weight` : `${path}.weight.${part}`] = t
    return Object.assign(out, vectors)
  }
  const form = `${JSON.stringify(config)} ${Object.values(weights).map((w) => w.form).join()}`
  const model: Model = {
    ...m, ...options, form, parts, hidden, step,
    generate: (prompt, how) => generate(model, prompt, how),
    size: Object.values(weights).reduce((n, w) => n + w.shape[0] * w.shape[1], 0) + Object.values(vectors).reduce((n, t) => n + t.size, 0),
    bytes: Object.values(weights).reduce((n, w) => n + w.bytes, 0) + Object.values(vectors).reduce((n, t) => n + t.bytes, 0),
    withParts(named) {
      const changed = Object.fromEntries(Object.entries(weights).map(([path, weight]) => [path, weight.withParts(Object.fromEntries(Object.keys(weight.parts()).map((part) => [part, named[part === "values" ? `${path}.weight` : `${path}.weight.${part}`]!])))]))
      return build({ config, weights: changed, vectors: Object.fromEntries(Object.keys(vectors).map((name) => [name, named[name]!])) }, options) as never
    },
    forward: (ids, options) => logits(m, hidden(ids, options), options?.observe),
    embed: (ids, { segments } = {}) => start(ids, segments),
    finish: (x) => finish(m, x),
    head: (x, { observe } = {}) => logits(m, finish(m, x), observe),
    blocks: () => Array.from({ length: config.layers }, (_, layer): Block => {
      const path = `${a.blocks}.${layer}`
      return {
        path, layer, links: blockLinks(a, config, layer),
        linears: Object.keys(weights).filter((name) => name.startsWith(`${path}.`)),
        forward: (x, { observe, mask } = {}) => runBlock(m, layer, x, passOf(x, wholeSequences(config, padding(mask)), observe)),
      }
    }),
    withoutHead() {
      const less = headlessConfig(config), { stated: _, ...rest } = options
      const kept = new Set(expectedTensors(less).map((t) => (t.kind === "matrix" ? t.path : t.name)))
      return createModel(less, Object.fromEntries(Object.entries({ ...weights, ...vectors }).filter(([name]) => kept.has(name))), rest)
    },
    async loaded(paths) {
      const wanted = [...(paths ?? Object.keys(weights))].filter((path) => weights[path] !== undefined && isLazy(weights[path])), read: Record<string, Weight> = {}
      try {
        for (const path of wanted) read[path] = await (weights[path] as LazyWeight).load()
      } catch (e) {
        for (const t of tensorsOf(read)) t.dispose()
        throw e
      }
      return wanted.length === 0 ? model : model.with(read)
    },
    with(changed, more = {}) {
      return createModel(config, { ...weights, ...vectors, ...changed }, { ...options, ...more })
    },
  }
  return model
}

/** Of x [batch, length, width] one row each: at the same place, or at one per sequence [batch]. */
function rowsAt(x: Tensor, at: Tensor): Tensor {
  const [batch, length, width] = x.shape as [number, number, number]
  if (at.size === 1) return take(x, reshape(at, [1]), 1)
  if (at.size !== batch) return fail("shape", "step", `'at' is one place, or one for each of ${batch} sequences, got ${showShape(at.shape)}`)
  const rows = take(reshape(x, [batch * length, width]), add(reshape(at, [batch]), arange(0, batch * length, length)))
  return reshape(rows, [batch, 1, width])
}
