import type { Architecture } from "../architecture.ts"
import { plainLinks } from "../links.ts"

/** GPT-NeoX (Black et al., 2022, arXiv:2204.06745) and Pythia. */
export const gptNeox: Architecture = {
  name: "gpt_neox",
  className: "GPTNeoXForCausalLM",
  gguf: "gptneox",
  ggufWholeHeads: true,
  names: { embedding: "gpt_neox.embed_in", norm: "gpt_neox.final_layer_norm", head: "embed_out" },
  blocks: "gpt_neox.layers",
  block: {
    attentionNorm: "input_layernorm", qkv: "attention.query_key_value", output: "attention.dense",
    feedNorm: "post_attention_layernorm", up: "mlp.dense_h_to_4h", down: "mlp.dense_4h_to_h",
  },
  norm: "layer",
  fused: "heads",
  ggufPairs: "half",
  ignored: /\.(attention\.(masked_)?bias|rotary_emb\.inv_freq)$/,
  links: plainLinks,
  json: {
    fields: { eps: "layer_norm_eps", kvHeads: "" }, eps: 1e-5, activation: "gelu", biases: ["qkv", "output", "up", "down"],
    rope: { base: "rotary_emb_base", share: "rotary_pct", defaultShare: 0.25 },
    parallel: { flag: "use_parallel_residual", otherwise: true },
  },
}
