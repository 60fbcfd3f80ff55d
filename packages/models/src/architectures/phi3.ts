import type { Architecture } from "../architecture.ts"
import { llama } from "./llama.ts"

/** Phi-3 (Abdin et al., 2024, arXiv:2404.14219): Llama with fused matrices, and positions stretched for long contexts. */
export const phi3: Architecture = {
  ...llama,
  name: "phi3",
  className: "Phi3ForCausalLM",
  gguf: "phi3",
  ggufWholeHeads: true,
  block: {
    attentionNorm: "input_layernorm", qkv: "self_attn.qkv_proj", output: "self_attn.o_proj",
    feedNorm: "post_attention_layernorm", gateUp: "mlp.gate_up_proj", down: "mlp.down_proj",
  },
  fused: "parts",
  ggufPairs: "half",
  json: { eps: 1e-5, windows: "all" },
}
