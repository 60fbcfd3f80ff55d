import { fail } from "@thimble/core"
import type { GgufFile, GgufValue } from "@thimble/formats"
import { architectureOf, type Architecture } from "./architecture.ts"
import { architectures } from "./architectures/index.ts"
import type { Config, RopeScaling, Role } from "./config.ts"
import { mostLayers, problemOf } from "./config-check.ts"
import { ggufModule } from "./gguf-names.ts"
import { isPlainFactors } from "./rope.ts"
import { blockShapes, withShapes } from "./shapes.ts"
import { GgufFields } from "./gguf-fields.ts"

/** The config that a GGUF file's metadata and the names of its tensors state. */
export async function readGgufConfig(file: Pick<GgufFile, "name" | "metadata" | "entries" | "tensor">): Promise<Config> {
  const kind = file.metadata.get("general.architecture")
  if (kind?.type !== "string") return fail("format", "gguf", `${file.name}: 'general.architecture' is no string`, "is it a model?")
  const json = new GgufFields(file.name, file.metadata, `${kind.value}.`), tokens = new GgufFields(file.name, file.metadata, "tokenizer.ggml.")
  const sliding = json.number("attention.sliding_window", 0)
  const rows = architectures.filter((row) => (perLayerKinds[row.gguf] ?? row.gguf) === kind.value || row.gguf === kind.value)
  // Mistral goes by the name of Llama, and DistilBERT by that of BERT.
  const a = rows.find((row) => (row.json.windows === undefined) === (sliding === 0) && (row.names.segments !== undefined) === file.entries.has("token_types.weight")) ?? rows[0]
    ?? fail("format", "gguf", `${file.name}: 'general.architecture' is '${kind.value}'`, `these are known: ${[...new Set(architectures.map((row) => row.gguf))].join(", ")}`)
  const has = (role: Role, suffix: string): boolean => file.entries.has(`${ggufModule(a, role, a.block[role as never] === undefined ? undefined : 0)}.${suffix}`)
  const width = json.count("embedding_length"), layers = json.count("block_count", undefined, mostLayers), heads = json.counts("attention.head_count", layers), context = json.count("context_length")
  const kvHeads = json.counts("attention.head_count_kv", layers, heads), hidden = json.counts("feed_forward_length", layers)
  const headSize = json.count("attention.key_length", width / heads[0]!)
  if (json.count("attention.value_length", headSize) !== headSize) json.refuse("attention.value_length", "differs from that of keys, which is not known")
  const embedding = file.entries.get(`${ggufModule(a, "embedding")}.weight`)?.shape
  if (embedding?.length !== 2) return fail("format", "gguf", `${file.name}: has no matrix '${ggufModule(a, "embedding")}.weight'`)
  const roles = [...Object.keys(a.names), ...Object.keys(a.block)] as Role[]
  const matrices = roles.filter((role) => !/norm$/i.test(role))
  const id = (key: string): number | undefined => (tokens.has(key) ? tokens.number(key) : undefined)
  const bos = id("bos_token_id"), eos = id("eos_token_id"), pad = id("padding_token_id")
  const cap = json.number("attn_logit_softcapping", 0), logitCap = json.number("final_logit_softcapping", 0)
  const scale = json.has("attention.scale") ? json.number("attention.scale") : standardScale(a, { layers, width, heads: heads[0]! })
  const config: Config = withShapes({
    architecture: a.name,
    vocabulary: embedding[0]!, width, layers, heads: heads[0]!, kvHeads: kvHeads[0]!, headSize, hidden: hidden[0]!, context,
    eps: round(json.number(a.norm === "rms" ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon")),
    activation: a.json.activation ?? "silu",
    tied: a.bodyClassName === undefined && !has("head", "weight"),
    biases: matrices.filter((role) => has(role, "bias")),
    ...(a.json.rope !== false && { rope: await readGgufRope(file, json, headSize, context) }),
    ...(a.json.windows !== undefined && sliding > 0 && { windows: usesWindow(a, file.metadata.get(`${kind.value}.attention.sliding_window_pattern`), layers).map((uses) => (uses ? sliding : 0)) }),
    ...(a.json.parallel && { parallel: json.flag("use_parallel_residual", a.json.parallel.otherwise) }),
    ...(cap > 0 && { attentionCap: cap }), ...(logitCap > 0 && { logitCap }), ...(scale !== undefined && { scale }),
    ...(a.bodyClassName !== undefined && { headless: true }),
    ...(a.names.segments !== undefined && { segments: json.count("token_type_count", 2) }),
    ...(bos !== undefined && { bos }), ...(eos !== undefined && { eos: [eos] }), ...(pad !== undefined && { pad }),
    ...a.fixed,
  }, heads.map((h, i) => ({ heads: h, kvHeads: kvHeads[i]!, hidden: hidden[i]! })))
  const problem = problemOf(config)
  return problem === undefined ? config : fail("format", "gguf", `${file.name}: ${problem}`)
}

/** Which layers look back on a window: as the file lists them, or as all models of the kind do. */
function usesWindow(a: Architecture, listed: GgufValue | undefined, layers: number): boolean[] {
  if (listed?.type === "array" && listed.of === "bool" && listed.value.length === layers) return [...listed.value]
  return Array.from({ length: layers }, (_, i) => a.json.windows !== "alternate" || i % 2 === 0)
}

/** Gemma 2 counts 256 features, whatever a head has; its largest model counts width/heads. */
const standardScale = (a: Architecture, { layers, width, heads }: Pick<Config, "layers" | "width" | "heads">): number | undefined =>
  a.json.numbers?.scale === undefined ? undefined : (layers === 46 ? width / heads : a.json.numbers.scale) ** -0.5

/** The decimal number that an f32 was written for: 1e-5, not 0.00000999999974737875. */
const round = (n: number): number => Number(n.toPrecision(7))

async function readGgufRope(file: Pick<GgufFile, "entries" | "tensor">, json: GgufFields, headSize: number, context: number): Promise<NonNullable<Config["rope"]>> {
  const features = json.count("rope.dimension_count", headSize), base = json.number("rope.freq_base", 10000)
  const factors = async (name: string): Promise<readonly number[]> => {
    using t = await file.tensor(name)
    if (t.dtype !== "f32" || t.size !== features / 2) json.refuse("rope.dimension_count", `is ${features}, but '${name}' is ${t.dtype} with ${t.size} elements`)
    return Array.from(await t.data())
  }
  const kind = json.text("rope.scaling.type", "none"), original = json.count("rope.scaling.original_context_length", context)
  const attention = json.number("rope.scaling.attn_factor", 1)
  const scaling = async (): Promise<RopeScaling | undefined> => {
    if (file.entries.has("rope_freqs.weight")) {
      const all = await factors("rope_freqs.weight")
      return { kind: "longrope", short: all, long: all, original: context, magnitude: 1 }
    }
    if (file.entries.has("rope_factors_long.weight")) {
      const standard = context > original ? Math.sqrt(1 + Math.log(context / original) / Math.log(original)) : 1
      return { kind: "longrope", short: await factors("rope_factors_short.weight"), long: await factors("rope_factors_long.weight"), original, magnitude: json.has("rope.scaling.attn_factor") ? attention : standard }
    }
    const factor = json.number("rope.scaling.factor", 1)
    if (kind === "linear" && factor !== 1) return { kind, factor }
    if (kind === "yarn") return { kind, factor, original, fast: json.number("rope.scaling.yarn_beta_fast", 32), slow: json.number("rope.scaling.yarn_beta_slow", 1), magnitude: attention * yarnMagnitude(factor) }
    return kind === "none" || kind === "linear" ? undefined : json.refuse("rope.scaling.type", `is '${kind}', but its factors are missing`)
  }
  const found = await scaling()
  return { base, features, ...(found && { scaling: found }) }
}
const yarnMagnitude = (factor: number): number => (factor <= 1 ? 1 : 0.1 * Math.log(factor) + 1)

/** Kinds of models that llama.cpp reads with shapes of each layer's own, beside those that are the same otherwise. */
const perLayerKinds: Readonly<Record<string, string>> = { llama: "deci" }

/**
 * `general.architecture` of a config. Shapes that llama.cpp would not read a model with are refused: it takes those of the first
 * layer for all but in some kinds, and heads for the whole stream in others.
 * Source: llama.cpp, src/models, load_arch_tensors.
 */
export function ggufKind(config: Config): string {
  const a = architectureOf(config), narrow = blockShapes(config).find((s) => s.heads * config.headSize !== config.width)
  if (narrow !== undefined && a.ggufWholeHeads) fail("value", "gguf", `${a.name} models in GGUF files have heads of width/heads features; here ${narrow.heads} heads of ${config.headSize} are not the width, ${config.width}`, "write a directory instead")
  if (config.shapes === undefined) return a.gguf
  return perLayerKinds[a.gguf] ?? fail("value", "gguf", `${a.name} models in GGUF files have the same heads and hidden features in all layers`, "write a directory instead, or prune all layers alike")
}

/** The metadata that states a config, `general.architecture` first. What tensors say (biases, tied heads, factors) is left to them. */
export function writeGgufConfig(config: Config): Map<string, GgufValue> {
  const a = architectureOf(config), kind = ggufKind(config), out = new Map<string, GgufValue>([["general.architecture", { type: "string", value: kind }]])
  const set = (key: string, type: "u32" | "f32", value: number): Map<string, GgufValue> => out.set(`${kind}.${key}`, { type, value })
  const { rope, headSize, width } = config, shapes = blockShapes(config)
  const counts = (key: string, all: readonly number[]): void => void (all.every((n) => n === all[0]) ? set(key, "u32", all[0]!) : out.set(`${kind}.${key}`, { type: "array", of: "u32", value: Uint32Array.from(all) }))
  set("context_length", "u32", config.context)
  set("embedding_length", "u32", width)
  set("block_count", "u32", config.layers)
  counts("feed_forward_length", shapes.map((s) => s.hidden))
  counts("attention.head_count", shapes.map((s) => s.heads))
  counts("attention.head_count_kv", shapes.map((s) => s.kvHeads))
  if (shapes.some((s) => s.heads * headSize !== width)) {
    set("attention.key_length", "u32", headSize)
    set("attention.value_length", "u32", headSize)
  }
  set(a.norm === "rms" ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon", "f32", config.eps)
  set("vocab_size", "u32", config.vocabulary)
  if (a.json.parallel) out.set(`${kind}.use_parallel_residual`, { type: "bool", value: config.parallel ?? false })
  if (config.windows !== undefined) {
    const size = Math.max(...config.windows), uses = config.windows.map((w) => w > 0)
    if (config.windows.some((w) => w !== 0 && w !== size)) fail("value", "gguf", `windows of sizes ${[...new Set(config.windows)].join(", ")} cannot be written`, "there is room for one size")
    set("attention.sliding_window", "u32", size)
    if (String(uses) !== String(usesWindow(a, undefined, config.layers))) out.set(`${kind}.attention.sliding_window_pattern`, { type: "array", of: "bool", value: uses })
  }
  if (config.attentionCap !== undefined) set("attn_logit_softcapping", "f32", config.attentionCap)
  if (config.logitCap !== undefined) set("final_logit_softcapping", "f32", config.logitCap)
  if (config.scale !== undefined) set("attention.scale", "f32", config.scale)
  if (config.segments !== undefined) set("token_type_count", "u32", config.segments)
  if (a.bidirectional) out.set(`${kind}.attention.causal`, { type: "bool", value: false })
  if (rope === undefined) return out
  set("rope.dimension_count", "u32", rope.features)
  set("rope.freq_base", "f32", rope.base)
  const { scaling } = rope
  if (scaling?.kind === "linear" || scaling?.kind === "yarn") {
    out.set(`${kind}.rope.scaling.type`, { type: "string", value: scaling.kind })
    set("rope.scaling.factor", "f32", scaling.factor)
  }
  if (scaling?.kind === "yarn") {
    if (scaling.fast !== 32) set("rope.scaling.yarn_beta_fast", "f32", scaling.fast)
    if (scaling.slow !== 1) set("rope.scaling.yarn_beta_slow", "f32", scaling.slow)
    set("rope.scaling.original_context_length", "u32", scaling.original)
    set("rope.scaling.attn_factor", "f32", scaling.magnitude / yarnMagnitude(scaling.factor))
  }
  if (scaling?.kind === "longrope" && !isPlainFactors(scaling)) {
    set("rope.scaling.original_context_length", "u32", scaling.original)
    set("rope.scaling.attn_factor", "f32", scaling.magnitude)
  }
  return out
}
