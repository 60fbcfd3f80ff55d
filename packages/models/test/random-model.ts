import { denseWeight, randn, type Tensor, type Weight } from "@thimble/core"
import { createModel, expectedTensors, readConfig, type Config, type Json, type Model } from "../src/index.ts"

/** Fields of small models, one per architecture. */
export const small: Readonly<Record<string, Json>> = {
  llama: { model_type: "llama", vocab_size: 40, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 64 },
  mistral: { model_type: "mistral", vocab_size: 40, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 6, max_position_embeddings: 64, sliding_window: 5 },
  qwen2: { model_type: "qwen2", vocab_size: 40, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, tie_word_embeddings: true },
  qwen3: { model_type: "qwen3", vocab_size: 40, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8 },
  phi: { model_type: "phi", vocab_size: 40, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 2, partial_rotary_factor: 0.5 },
  phi3: { model_type: "phi3", vocab_size: 40, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, sliding_window: 6 },
  gemma2: { model_type: "gemma2", vocab_size: 40, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 4, sliding_window: 5, query_pre_attn_scalar: 6, attn_logit_softcapping: 2, final_logit_softcapping: 3 },
  gpt2: { model_type: "gpt2", vocab_size: 40, n_embd: 16, n_layer: 2, n_head: 4, n_positions: 64 },
  gpt_neox: { model_type: "gpt_neox", vocab_size: 40, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 2, rotary_pct: 0.5 },
}

/** The same of encoders, which continue nothing. */
export const smallEncoders: Readonly<Record<string, Json>> = {
  bert: { model_type: "bert", vocab_size: 40, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4, max_position_embeddings: 32 },
  distilbert: { model_type: "distilbert", vocab_size: 40, dim: 16, n_layers: 2, n_heads: 4, hidden_dim: 24, max_position_embeddings: 32 },
}

/** A model of random weights, the same for the same seed. */
export function randomModel(config: Config, seed = 1): Model {
  const parameters: Record<string, Weight | Tensor> = {}
  expectedTensors(config).forEach(({ name, path, kind, shape }, i) => {
    const values = randn(shape, { seed: seed * 1000 + i })
    if (kind === "matrix") parameters[path] = denseWeight(values.mul(0.3))
    else parameters[name] = values.mul(0.2).add(kind === "norm" && name.endsWith(".weight") ? 1 : 0)
  })
  return createModel(config, parameters)
}
export const smallModel = (architecture: string, changed: Json = {}): Model => randomModel(readConfig({ ...(small[architecture] ?? smallEncoders[architecture]!), ...changed }))
