import type { Architecture } from "../architecture.ts"
import { postNormLinks } from "../links.ts"

/** DistilBERT (Sanh et al., 2019, arXiv:1910.01108). */
export const distilbert: Architecture = {
  name: "distilbert",
  className: "DistilBertForMaskedLM",
  bodyClassName: "DistilBertModel",
  gguf: "bert",
  ggufWholeHeads: true,
  names: {
    embedding: "distilbert.embeddings.word_embeddings", positions: "distilbert.embeddings.position_embeddings", embeddingNorm: "distilbert.embeddings.LayerNorm",
    headTransform: "vocab_transform", headNorm: "vocab_layer_norm", head: "vocab_projector",
  },
  blocks: "distilbert.transformer.layer",
  block: {
    query: "attention.q_lin", key: "attention.k_lin", value: "attention.v_lin", output: "attention.out_lin", attentionNorm: "sa_layer_norm",
    up: "ffn.lin1", down: "ffn.lin2", feedNorm: "output_layer_norm",
  },
  optionalPrefix: "distilbert.",
  norm: "layer",
  postNorm: true,
  bidirectional: true,
  ggufPairs: "half",
  ignored: /(^|\.)(pre_classifier\..*|classifier\..*|embeddings\.position_ids)$/,
  links: postNormLinks,
  json: {
    fields: { width: "dim", layers: "n_layers", heads: "n_heads", kvHeads: "", headSize: "", hidden: "hidden_dim", eps: "", activation: "activation" },
    eps: 1e-12, activation: "gelu", tied: true, biases: ["query", "key", "value", "output", "up", "down", "headTransform", "head"], rope: false,
  },
}
