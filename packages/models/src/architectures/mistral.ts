import type { Architecture } from "../architecture.ts"
import { llama } from "./llama.ts"

/** Mistral 7B (Jiang et al., 2023, arXiv:2310.06825): Llama that looks back on a window. */
export const mistral: Architecture = {
  ...llama,
  name: "mistral",
  className: "MistralForCausalLM",
  json: { kvHeads: 8, windows: "all", window: 4096 },
}
