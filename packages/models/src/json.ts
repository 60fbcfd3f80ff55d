import { fail } from "@thimble/core"
import { architectures } from "./architectures/index.ts"
import { architectureOf } from "./architecture.ts"
import { activations, type Activation, type Config, type Role } from "./config.ts"
import { mostLayers, problemOf } from "./config-check.ts"
import { JsonFields, type Json } from "./json-fields.ts"
import { readRope, writeRope } from "./json-rope.ts"
import { blockShapes, withShapes } from "./shapes.ts"

/** What most config.json files state under names of their own. */
export type SizeField = "vocabulary" | "width" | "layers" | "heads" | "kvHeads" | "headSize" | "hidden" | "context" | "eps" | "activation" | "segments"

/** Where a config.json says what, and what it means where it says nothing. Rows state what differs from Llama's. */
export interface JsonRow {
  /** Names of fields. */
  readonly fields?: Partial<Record<SizeField, string>>
  readonly eps?: number
  readonly headSize?: number
  readonly kvHeads?: number
  readonly activation?: Activation
  readonly tied?: boolean
  /** Matrices that always have biases, and flags for others. */
  readonly biases?: readonly Role[]
  readonly biasFlags?: Readonly<Record<string, readonly Role[]>>
  /** Rotary positions; false where positions are learned. */
  readonly rope?: false | { readonly base?: string; readonly share?: string; readonly defaultShare?: number }
  /** Which layers `sliding_window` is for: all; every second, from the first; all from `max_window_layers` on if `use_sliding_window`. */
  readonly windows?: "all" | "alternate" | "late"
  /** Size of the window where the file says nothing. */
  readonly window?: number
  /** Numbers that the file may leave out. */
  readonly numbers?: Partial<Record<keyof typeof numbers, number>>
  /** Flag of blocks whose two parts read the same stream, and what it is unless given. */
  readonly parallel?: { readonly flag: string; readonly otherwise: boolean }
}

/** Numbers that some models have: their names, and how they are written. */
const numbers = {
  attentionCap: { field: "attn_logit_softcapping" },
  logitCap: { field: "final_logit_softcapping" },
  // What heads are counted to have, for their scale.
  scale: { field: "query_pre_attn_scalar", read: (n: number) => n ** -0.5, write: (scale: number) => scale ** -2 },
} as const satisfies Partial<Record<keyof Config, { readonly field: string; readonly read?: (n: number) => number; readonly write?: (n: number) => number }>>

const llamaFields = {
  vocabulary: "vocab_size", width: "hidden_size", layers: "num_hidden_layers", heads: "num_attention_heads", kvHeads: "num_key_value_heads", headSize: "head_dim",
  hidden: "intermediate_size", context: "max_position_embeddings", eps: "rms_norm_eps", activation: "hidden_act", segments: "type_vocab_size",
} as const satisfies Record<SizeField, string>

/** The config that a config.json states. */
export function readConfig(given: Json, file = "config.json"): Config {
  const json = new JsonFields(given, file)
  const name = json.text("model_type")
  const a = architectures.find((row) => row.name === name) ?? json.refuse("model_type", `is '${name}'; known are ${architectures.map((row) => row.name).join(", ")}`)
  const row = a.json, fields = { ...llamaFields, ...row.fields }
  const width = json.count(fields.width), layers = json.count(fields.layers, undefined, mostLayers), heads = json.counts(fields.heads, layers)
  const headSize = json.count(fields.headSize || ownHeadSize, row.headSize ?? width / heads[0]!)
  const activation = json.text(fields.activation, row.activation ?? "silu")
  if (!Object.hasOwn(activations, activation)) json.refuse(fields.activation, `is '${activation}'; known are ${Object.keys(activations).join(", ")}`)
  const kvHeads = json.counts(fields.kvHeads, layers, heads.map((h) => Math.min(row.kvHeads ?? h, h)))
  heads.forEach((h, i) => h % kvHeads[i]! !== 0 && json.refuse(fields.kvHeads, `is ${kvHeads[i]}, which does not divide ${h} heads`))
  const hidden = json.counts(fields.hidden, layers, Array.from({ length: layers }, () => 4 * width))
  const context = json.count(fields.context, 2048)
  const flagged = Object.entries(row.biasFlags ?? {}).filter(([flag]) => json.flag(flag, false)).flatMap(([, roles]) => roles)
  const windows = readWindows(json, row, layers)
  const eos = json.ids("eos_token_id"), bos = json.ids("bos_token_id")?.[0], pad = json.ids("pad_token_id")?.[0]
  const others = Object.entries(numbers).flatMap(([key, n]): [string, number][] => {
    const value = json.has(n.field) ? json.get(n.field) : row.numbers?.[key as keyof typeof numbers]
    // null says that there is none.
    if (value === undefined || value === null) return []
    const stated = json.number(n.field, row.numbers?.[key as keyof typeof numbers])
    return [[key, "read" in n ? n.read(stated) : stated]]
  })
  const config: Config = withShapes({
    architecture: a.name,
    vocabulary: json.count(fields.vocabulary), width, layers, heads: heads[0]!, kvHeads: kvHeads[0]!, headSize, hidden: hidden[0]!, context,
    eps: json.number(fields.eps, row.eps ?? 1e-6), activation: activation as Activation, tied: json.flag("tie_word_embeddings", row.tied ?? false),
    biases: [...(row.biases ?? []), ...flagged],
    ...(row.rope !== false && { rope: readRope(json, { ...row.rope, headSize, context }) }),
    ...(windows && { windows }),
    ...(row.parallel && { parallel: json.flag(row.parallel.flag, row.parallel.otherwise) }),
    ...(a.names.segments !== undefined && { segments: json.count(fields.segments, 2) }),
    ...Object.fromEntries(others),
    ...(bos !== undefined && { bos }), ...(eos && { eos }), ...(pad !== undefined && { pad }),
    ...a.fixed,
  }, heads.map((h, i) => ({ heads: h, kvHeads: kvHeads[i]!, hidden: hidden[i]! })))
  const problem = problemOf(config)
  return problem === undefined ? config : fail("format", "config", `${file}: ${problem}`)
}

/** Where heads are named nowhere else, files say with this what a head has, if it is not width/heads. */
const ownHeadSize = "head_dim"

/** A config.json that states the config. What differs between layers is a list, which other libraries refuse. */
export function writeConfig(config: Config): Json {
  const a = architectureOf(config), row = a.json, fields = { ...llamaFields, ...row.fields }
  const { headSize, width, rope, bos, eos, pad } = config, shapes = blockShapes(config), plainHeads = row.headSize === undefined && shapes.every((s) => s.heads * headSize === width)
  const said = (Object.entries(fields) as [SizeField, string][]).filter(([key, field]) => field !== "" && config[key] !== undefined && !(key === "headSize" && plainHeads))
  const others = Object.entries(numbers).flatMap(([key, n]): [string, number][] => {
    const value = config[key as keyof typeof numbers]
    return value === undefined ? [] : [[n.field, "write" in n ? n.write(value) : value]]
  })
  return {
    architectures: [config.headless ? a.bodyClassName! : a.className],
    model_type: a.name,
    ...Object.fromEntries(said.map(([key, field]) => [field, key === "heads" || key === "kvHeads" || key === "hidden" ? perLayer(shapes.map((s) => s[key])) : config[key]])),
    ...(fields.headSize === "" && !plainHeads && { [ownHeadSize]: headSize }),
    tie_word_embeddings: config.tied,
    ...Object.fromEntries(Object.entries(row.biasFlags ?? {}).map(([flag, roles]) => [flag, roles.every((r) => config.biases.includes(r))])),
    ...(rope && row.rope !== false && writeRope(rope, { ...row.rope, headSize })),
    ...writeWindows(config, row),
    ...(row.parallel && { [row.parallel.flag]: config.parallel ?? false }),
    ...Object.fromEntries(others),
    ...(bos !== undefined && { bos_token_id: bos }), ...(eos && { eos_token_id: eos.length === 1 ? eos[0] : eos }), ...(pad !== undefined && { pad_token_id: pad }),
  }
}

/** One number where it is the same for all layers. */
const perLayer = (counts: readonly number[]): number | readonly number[] => (counts.every((n) => n === counts[0]) ? counts[0]! : counts)

/** The same config without a head, which only encoders do without. */
export function headlessConfig(config: Config): Config {
  if (architectureOf(config).bodyClassName === undefined) fail("value", "withoutHead", `${config.architecture} models are nothing without their head`)
  return { ...config, headless: true, tied: false, biases: config.biases.filter((role) => role !== "head" && role !== "headTransform") }
}

function readWindows(json: JsonFields, { windows: which, window: standard }: JsonRow, layers: number): number[] | undefined {
  if (which === undefined) return undefined
  const size = json.has("sliding_window") ? (json.get("sliding_window") === null ? 0 : json.count("sliding_window")) : (standard ?? 0)
  if (size === 0 || (which === "late" && !json.flag("use_sliding_window", false))) return undefined
  const types = json.get("layer_types")
  if (Array.isArray(types)) {
    if (types.length !== layers) json.refuse("layer_types", `has ${types.length} elements for ${layers} layers`)
    return types.map((t) => (t === "sliding_attention" ? size : t === "full_attention" ? 0 : json.refuse("layer_types", `has ${JSON.stringify(t)}`)))
  }
  const from = which === "late" ? json.count("max_window_layers", 28) : 0
  return Array.from({ length: layers }, (_, i) => (which === "alternate" ? (i % 2 === 0 ? size : 0) : i >= from ? size : 0))
}

function writeWindows({ windows, layers }: Config, { windows: which }: JsonRow): Json {
  if (which === undefined) return {}
  const size = windows === undefined ? 0 : Math.max(...windows)
  if (windows === undefined || size === 0) return { sliding_window: null, ...(which === "late" && { use_sliding_window: false }) }
  const own = { sliding_window: size, ...(which === "late" && { use_sliding_window: true, max_window_layers: windows.indexOf(size) }) }
  const plain = Array.from({ length: layers }, (_, i) => (which === "all" ? size : which === "alternate" ? (i % 2 === 0 ? size : 0) : i >= windows.indexOf(size) ? size : 0))
  if (String(plain) === String(windows)) return own
  if (windows.some((w) => w !== 0 && w !== size)) fail("value", "config", `windows of sizes ${[...new Set(windows)].join(", ")} cannot be written to config.json`, "it has room for one size")
  return { ...own, layer_types: windows.map((w) => (w === 0 ? "full_attention" : "sliding_attention")) }
}
