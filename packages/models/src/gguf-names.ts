import { architectureOf, type Architecture } from "./architecture.ts"
import type { Config, Role } from "./config.ts"
import { expectedTensors, type Expected } from "./expected.ts"

/** Names of modules in GGUF files; of a block's, what follows `blk.N.`. */
const names: Readonly<Record<Role, string>> = {
  // The head of encoders is not a part of llama.cpp's.
  embedding: "token_embd", positions: "position_embd", segments: "token_types", embeddingNorm: "token_embd_norm",
  norm: "output_norm", headTransform: "cls", headNorm: "cls.norm", head: "output",
  attentionNorm: "attn_norm", query: "attn_q", key: "attn_k", value: "attn_v", qkv: "attn_qkv", queryNorm: "attn_q_norm", keyNorm: "attn_k_norm",
  output: "attn_output", attentionPostNorm: "post_attention_norm",
  feedNorm: "ffn_norm", gate: "ffn_gate", up: "ffn_up", gateUp: "ffn_up", down: "ffn_down", feedPostNorm: "post_ffw_norm",
}
const postNorms: Partial<Record<Role, string>> = { attentionNorm: "attn_output_norm", feedNorm: "layer_output_norm" }

/** The name of a module's tensors, without `.weight` or `.bias`. */
export function ggufModule(a: Architecture, role: Role, layer?: number): string {
  const name = (a.postNorm ? postNorms[role] : undefined) ?? names[role]
  return layer === undefined ? name : `blk.${layer}.${name}`
}

/** The name of a tensor in a GGUF file. */
export const ggufName = (a: Architecture, { role, layer, name }: Expected): string => `${ggufModule(a, role, layer)}${name.endsWith(".bias") ? ".bias" : ".weight"}`

/** Names of a model's tensors in Hugging Face's checkpoints → in GGUF files. */
export function ggufNames(config: Config): ReadonlyMap<string, string> {
  const a = architectureOf(config)
  return new Map(expectedTensors(config).map((t) => [t.name, ggufName(a, t)]))
}
