import type { Architecture } from "../architecture.ts"
import { postNormLinks } from "../links.ts"

/** BERT (Devlin et al., 2019, arXiv:1810.04805), with or without the head that fills in masked tokens. */
export const bert: Architecture = {
  name: "bert",
  className: "BertForMaskedLM",
  bodyClassName: "BertModel",
  gguf: "bert",
  ggufWholeHeads: true,
  names: {
    embedding: "bert.embeddings.word_embeddings", positions: "bert.embeddings.position_embeddings", segments: "bert.embeddings.token_type_embeddings", embeddingNorm: "bert.embeddings.LayerNorm",
    headTransform: "cls.predictions.transform.dense", headNorm: "cls.predictions.transform.LayerNorm", head: "cls.predictions.decoder",
  },
  blocks: "bert.encoder.layer",
  block: {
    query: "attention.self.query", key: "attention.self.key", value: "attention.self.value", output: "attention.output.dense", attentionNorm: "attention.output.LayerNorm",
    up: "intermediate.dense", down: "output.dense", feedNorm: "output.LayerNorm",
  },
  optionalPrefix: "bert.",
  spelled: { "cls.predictions.decoder.bias": "cls.predictions.bias" },
  // Names of the first checkpoints, which came from TensorFlow.
  aliases: [[/LayerNorm\.weight$/, "LayerNorm.gamma"], [/LayerNorm\.bias$/, "LayerNorm.beta"]],
  norm: "layer",
  postNorm: true,
  bidirectional: true,
  ggufPairs: "half",
  // What else it was trained for, and numbers that count positions.
  ignored: /(^|\.)(pooler\..*|cls\.seq_relationship\..*|cls\.predictions\.decoder\.bias|embeddings\.position_ids)$/,
  links: postNormLinks,
  json: {
    fields: { eps: "layer_norm_eps", kvHeads: "", headSize: "" }, eps: 1e-12, activation: "gelu", tied: true,
    biases: ["query", "key", "value", "output", "up", "down", "headTransform", "head"], rope: false,
  },
}
