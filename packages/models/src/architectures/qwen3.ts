import type { Architecture } from "../architecture.ts"
import { llama } from "./llama.ts"

/** Qwen3 (Yang et al., 2025, arXiv:2505.09388): Llama whose queries and keys are normalized head by head. */
export const qwen3: Architecture = {
  ...llama,
  name: "qwen3",
  className: "Qwen3ForCausalLM",
  gguf: "qwen3",
  block: { ...llama.block, queryNorm: "self_attn.q_norm", keyNorm: "self_attn.k_norm" },
  ggufPairs: "half",
  json: { headSize: 128, biasFlags: { attention_bias: ["query", "key", "value", "output"] }, windows: "late", window: 4096 },
}
