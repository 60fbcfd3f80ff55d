import type { Architecture } from "../architecture.ts"
import { llama } from "./llama.ts"

/** Gemma 2 (Riviere et al., 2024, arXiv:2408.00118): norms on both sides, every second layer with a window, capped scores. */
export const gemma2: Architecture = {
  ...llama,
  name: "gemma2",
  className: "Gemma2ForCausalLM",
  gguf: "gemma2",
  block: {
    attentionNorm: "input_layernorm", query: "self_attn.q_proj", key: "self_attn.k_proj", value: "self_attn.v_proj", output: "self_attn.o_proj",
    attentionPostNorm: "post_attention_layernorm",
    feedNorm: "pre_feedforward_layernorm", gate: "mlp.gate_proj", up: "mlp.up_proj", down: "mlp.down_proj",
    feedPostNorm: "post_feedforward_layernorm",
  },
  onePlus: true,
  scaledEmbedding: true,
  ggufPairs: "half",
  json: {
    fields: { activation: "hidden_activation" }, activation: "gelu_pytorch_tanh", tied: true, headSize: 256,
    biasFlags: { attention_bias: ["query", "key", "value", "output"] }, windows: "alternate", window: 4096,
    numbers: { attentionCap: 50, logitCap: 30, scale: 256 },
  },
}
