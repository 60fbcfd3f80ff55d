import type { Architecture } from "../architecture.ts"
import { llama } from "./llama.ts"

/** Qwen2 (Yang et al., 2024, arXiv:2407.10671): Llama with biases of queries, keys and values. */
export const qwen2: Architecture = {
  ...llama,
  name: "qwen2",
  className: "Qwen2ForCausalLM",
  gguf: "qwen2",
  ggufWholeHeads: true,
  ggufPairs: "half",
  json: { biases: ["query", "key", "value"], windows: "late", window: 4096 },
}
