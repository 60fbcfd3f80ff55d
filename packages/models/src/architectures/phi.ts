import type { Architecture } from "../architecture.ts"
import { sharedNormLinks } from "../links.ts"

/** Phi-1.5 and Phi-2 (Li et al., 2023, arXiv:2309.05463): attention and feed-forward part side by side behind one norm. */
export const phi: Architecture = {
  name: "phi",
  className: "PhiForCausalLM",
  gguf: "phi2",
  ggufWholeHeads: true,
  names: { embedding: "model.embed_tokens", norm: "model.final_layernorm", head: "lm_head" },
  blocks: "model.layers",
  block: {
    attentionNorm: "input_layernorm", query: "self_attn.q_proj", key: "self_attn.k_proj", value: "self_attn.v_proj", output: "self_attn.dense",
    up: "mlp.fc1", down: "mlp.fc2",
  },
  norm: "layer",
  ggufPairs: "half",
  ignored: /\.rotary_emb\.inv_freq$/,
  links: sharedNormLinks,
  json: {
    fields: { eps: "layer_norm_eps" }, eps: 1e-5, activation: "gelu_new", biases: ["query", "key", "value", "output", "up", "down", "head"],
    rope: { defaultShare: 0.5 },
  },
  fixed: { parallel: true },
}
