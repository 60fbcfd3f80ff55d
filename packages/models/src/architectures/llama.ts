import type { Architecture } from "../architecture.ts"
import { gatedLinks } from "../links.ts"

/** Llama 2 and 3 (Touvron et al., 2023, arXiv:2307.09288), and what has their shape: TinyLlama, SmolLM. */
export const llama: Architecture = {
  name: "llama",
  className: "LlamaForCausalLM",
  gguf: "llama",
  names: { embedding: "model.embed_tokens", norm: "model.norm", head: "lm_head" },
  blocks: "model.layers",
  block: {
    attentionNorm: "input_layernorm", query: "self_attn.q_proj", key: "self_attn.k_proj", value: "self_attn.v_proj", output: "self_attn.o_proj",
    feedNorm: "post_attention_layernorm", gate: "mlp.gate_proj", up: "mlp.up_proj", down: "mlp.down_proj",
  },
  norm: "rms",
  ggufPairs: "interleaved",
  ignored: /\.rotary_emb\.inv_freq$/,
  links: gatedLinks,
  json: { biasFlags: { attention_bias: ["query", "key", "value", "output"], mlp_bias: ["gate", "up", "down"] } },
}
