import { mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { castTo, denseWeight, type Tensor } from "@thimble/core"
import { saveSafetensors } from "@thimble/formats"
import { createModel, readConfig, type Json, type Model } from "@thimble/models"
import type { Config, Parameters } from "./model.ts"

/** Tensors by the names that transformers gives a Llama. */
export function named({ embedding, blocks, norm }: Parameters): Record<string, Tensor> {
  const tensors: Record<string, Tensor> = { "model.embed_tokens.weight": embedding.dense(), "model.norm.weight": norm }
  blocks.forEach((b, i) => {
    const all = {
      "input_layernorm": b.attentionNorm, "post_attention_layernorm": b.feedNorm,
      "self_attn.q_proj": b.query.dense(), "self_attn.k_proj": b.key.dense(), "self_attn.v_proj": b.value.dense(), "self_attn.o_proj": b.output.dense(),
      "mlp.gate_proj": b.gate.dense(), "mlp.up_proj": b.up.dense(), "mlp.down_proj": b.down.dense(),
    }
    for (const [name, t] of Object.entries(all)) tensors[`model.layers.${i}.${name}.weight`] = t
  })
  return tensors
}

/** The model that parameters are the tensors of, to generate and to be evaluated. */
export const asModel = (parameters: Parameters, config: Config): Model =>
  createModel(readConfig(describe(config)), Object.fromEntries(Object.entries(named(parameters)).map(([name, t]) => (t.rank === 2 ? [name.replace(/\.weight$/, ""), denseWeight(t)] : [name, t]))))

/** What config.json says of a model, and of the token that begins and ends texts, if there is one. */
export const describe = (config: Config, end?: number): Json => ({
  architectures: ["LlamaForCausalLM"], model_type: "llama",
  vocab_size: config.vocabulary, hidden_size: config.width, intermediate_size: config.hidden, num_hidden_layers: config.layers,
  num_attention_heads: config.heads, num_key_value_heads: config.kvHeads, head_dim: config.width / config.heads,
  hidden_act: "silu", rms_norm_eps: 1e-6, rope_theta: 10000, rope_scaling: null, max_position_embeddings: config.context,
  tie_word_embeddings: true, attention_bias: false, mlp_bias: false, attention_dropout: 0, initializer_range: 0.02, use_cache: true,
  ...(end !== undefined && { bos_token_id: end, eos_token_id: end }), torch_dtype: "bfloat16",
})

/** Writes a model as transformers reads it: bf16 weights, their description, and the tokenizer. */
export async function exportModel(folder: string, parameters: Parameters, config: Config, end: number, tokenizer: { readonly tokenizer: object; readonly config: object }): Promise<void> {
  await mkdir(folder, { recursive: true })
  const weights = Object.fromEntries(Object.entries(named(parameters)).map(([name, t]) => [name, castTo(t, "bf16")]))
  await saveSafetensors(join(folder, "model.safetensors"), weights, { metadata: { format: "pt" } })
  for (const t of Object.values(weights)) t.dispose()
  const json = (name: string, value: unknown): Promise<void> => writeFile(join(folder, name), JSON.stringify(value, undefined, 2) + "\n")
  await json("config.json", describe(config, end))
  await json("generation_config.json", { bos_token_id: end, eos_token_id: end, do_sample: true, temperature: 0.8, top_p: 0.95 })
  await json("tokenizer_config.json", tokenizer.config)
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(tokenizer.tokenizer) + "\n")
}
