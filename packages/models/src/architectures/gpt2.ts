import type { Architecture } from "../architecture.ts"
import { plainLinks } from "../links.ts"

/** GPT-2 (Radford et al., 2019). */
export const gpt2: Architecture = {
  name: "gpt2",
  className: "GPT2LMHeadModel",
  gguf: "gpt2",
  ggufWholeHeads: true,
  names: { embedding: "transformer.wte", positions: "transformer.wpe", norm: "transformer.ln_f", head: "lm_head" },
  blocks: "transformer.h",
  block: { attentionNorm: "ln_1", qkv: "attn.c_attn", output: "attn.c_proj", feedNorm: "ln_2", up: "mlp.c_fc", down: "mlp.c_proj" },
  optionalPrefix: "transformer.",
  norm: "layer",
  transposed: ["qkv", "output", "up", "down"],
  fused: "parts",
  ggufPairs: "half",
  // Masks of the first checkpoints.
  ignored: /\.attn\.(masked_)?bias$/,
  links: plainLinks,
  json: {
    fields: { width: "n_embd", layers: "n_layer", heads: "n_head", kvHeads: "", headSize: "", hidden: "n_inner", context: "n_positions", eps: "layer_norm_epsilon", activation: "activation_function" },
    eps: 1e-5, activation: "gelu_new", tied: true, biases: ["qkv", "output", "up", "down"], rope: false,
  },
}
