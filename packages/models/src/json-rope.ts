import type { RopeConfig, RopeScaling } from "./config.ts"
import type { Json, JsonFields } from "./json-fields.ts"

export interface RopeRow {
  /** Names of the fields of the base and of the share of a head's features that turn. */
  readonly base?: string
  readonly share?: string
  readonly defaultShare?: number
  readonly headSize: number
}

/** Rotary positions as config.json has them: `rope_theta` and `rope_scaling`, or (since transformers 5) `rope_parameters` with both. */
export function readRope(json: JsonFields, { base = "rope_theta", share = "partial_rotary_factor", defaultShare = 1, headSize, context }: RopeRow & { readonly context: number }): RopeConfig {
  const own = json.object("rope_parameters") ?? json.object("rope_scaling")
  const part = own?.has("partial_rotary_factor") ? own.number("partial_rotary_factor") : json.number(share, defaultShare)
  // Older models round down.
  const features = Math.floor(headSize * part)
  if (features < 2 || features % 2 !== 0 || features > headSize) json.refuse(share, `makes ${features} of ${headSize} features turn, which are no pairs`)
  const rope = { base: own?.has("rope_theta") ? own.number("rope_theta") : json.number(base, 10000), features }
  const scaling = own && readScaling(json, own, context, features)
  return { ...rope, ...(scaling && { scaling }) }
}

function readScaling(json: JsonFields, own: JsonFields, context: number, features: number): RopeScaling | undefined {
  const key = own.has("rope_type") ? "rope_type" : "type", kind = own.text(key, "default")
  const original = own.has("original_max_position_embeddings") ? own : json
  switch (kind) {
    case "default": return undefined
    case "linear": return { kind, factor: own.number("factor") }
    case "llama3": return { kind, factor: own.number("factor"), low: own.number("low_freq_factor"), high: own.number("high_freq_factor"), original: own.count("original_max_position_embeddings") }
    case "yarn": {
      const factor = own.number("factor")
      // The attention's temperature, from the paper's (22) or from the factors of DeepSeek's variant.
      const grown = (by: number): number => (factor <= 1 ? 1 : 0.1 * by * Math.log(factor) + 1)
      const standard = own.has("mscale") && own.has("mscale_all_dim") ? grown(own.number("mscale")) / grown(own.number("mscale_all_dim")) : grown(1)
      if (!own.flag("truncate", true)) own.refuse("truncate", "is false, which is not known")
      return { kind, factor, original: original.count("original_max_position_embeddings", context), fast: own.number("beta_fast", 32), slow: own.number("beta_slow", 1), magnitude: own.number("attention_factor", standard) }
    }
    case "longrope": case "su": {
      const known = original.count("original_max_position_embeddings", context), factor = own.number("factor", context / known)
      const standard = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(known))
      const factors = (name: string): readonly number[] => {
        const all = own.numbers(name)
        return all.length === features / 2 ? all : own.refuse(name, `has ${all.length} elements for ${features / 2} pairs of features`)
      }
      return { kind: "longrope", short: factors("short_factor"), long: factors("long_factor"), original: known, magnitude: own.number("attention_factor", standard) }
    }
    default: return own.refuse(key, `is '${kind}'; known are default, linear, llama3, yarn, longrope`)
  }
}

/** The fields that say the same. */
export function writeRope({ base, features, scaling }: RopeConfig, { base: key = "rope_theta", share = "partial_rotary_factor", defaultShare = 1, headSize }: RopeRow): Json {
  const part = features / headSize
  return { [key]: base, ...(part !== defaultShare && { [share]: part }), ...(scaling && writeScaling(scaling)) }
}
function writeScaling(s: RopeScaling): Json {
  switch (s.kind) {
    case "linear": return { rope_scaling: { rope_type: s.kind, factor: s.factor } }
    case "llama3": return { rope_scaling: { rope_type: s.kind, factor: s.factor, low_freq_factor: s.low, high_freq_factor: s.high, original_max_position_embeddings: s.original } }
    case "yarn": return { rope_scaling: { rope_type: s.kind, factor: s.factor, original_max_position_embeddings: s.original, beta_fast: s.fast, beta_slow: s.slow, attention_factor: s.magnitude } }
    case "longrope": return {
      original_max_position_embeddings: s.original,
      rope_scaling: { rope_type: s.kind, short_factor: s.short, long_factor: s.long, attention_factor: s.magnitude },
    }
  }
}
