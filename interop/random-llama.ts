import { quantizeWeight, randn, tensor, type Tensor, type TypedArray, type Weight } from "@thimble/core"
import { ggml, saveGguf, type GgmlName, type GgufValue } from "@thimble/formats"

/** A small Llama whose rows are whole super-blocks of 256, so that every type of GGUF files can store it. */
const size = { width: 256, layers: 2, heads: 8, kvHeads: 4, hidden: 512, vocabulary: 512, context: 128 } as const

const text = (value: string): GgufValue => ({ type: "string", value })
const count = (value: number): GgufValue => ({ type: "u32", value })

/** Three tokens that stand for no text, all bytes, and words. */
function vocabulary(): Map<string, GgufValue> {
  const names = ["<unk>", "<s>", "</s>", ...Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`), "\u2581"]
  for (const a of "abcdefghijklmnopqrstuvwxyz") names.push(a)
  for (let i = 0; names.length < size.vocabulary; i++) names.push(`\u2581${String.fromCharCode(97 + Math.floor(i / 26))}${String.fromCharCode(97 + (i % 26))}`)
  return new Map<string, GgufValue>([
    ["tokenizer.ggml.model", text("llama")],
    ["tokenizer.ggml.tokens", { type: "array", of: "string", value: names }],
    ["tokenizer.ggml.scores", { type: "array", of: "f32", value: Float32Array.from(names, (_, i) => -i) }],
    // 1 normal, 2 unknown, 3 control, 6 byte.
    ["tokenizer.ggml.token_type", { type: "array", of: "i32", value: Int32Array.from(names, (_, i) => (i === 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1)) }],
    ["tokenizer.ggml.bos_token_id", count(1)],
    ["tokenizer.ggml.eos_token_id", count(2)],
    ["tokenizer.ggml.unknown_token_id", count(0)],
    ["tokenizer.ggml.add_bos_token", { type: "bool", value: true }],
  ])
}

/** Matrices and norms by their names in GGUF files. */
function* shapes(): Generator<readonly [name: string, shape: readonly number[], deviation: number]> {
  const { width, layers, heads, kvHeads, hidden, vocabulary } = size, shared = (width / heads) * kvHeads
  const even = (inner: number): number => 1 / Math.sqrt(inner)
  yield ["token_embd.weight", [vocabulary, width], 1]
  for (let l = 0; l < layers; l++) {
    yield [`blk.${l}.attn_norm.weight`, [width], 0.2]
    yield [`blk.${l}.attn_q.weight`, [width, width], even(width)]
    yield [`blk.${l}.attn_k.weight`, [shared, width], even(width)]
    yield [`blk.${l}.attn_v.weight`, [shared, width], even(width)]
    yield [`blk.${l}.attn_output.weight`, [width, width], 0.4 * even(width)]
    yield [`blk.${l}.ffn_norm.weight`, [width], 0.2]
    yield [`blk.${l}.ffn_gate.weight`, [hidden, width], even(width)]
    yield [`blk.${l}.ffn_up.weight`, [hidden, width], even(width)]
    yield [`blk.${l}.ffn_down.weight`, [width, hidden], 0.4 * even(hidden)]
  }
  yield ["output_norm.weight", [width], 0.2]
  yield ["output.weight", [vocabulary, width], even(width)]
}

/** Rows of the head that find the token before: 5·i + 3 follows i. */
function successors(embedding: TypedArray): number[][] {
  const { vocabulary: n, width } = size, rows: number[][] = []
  for (let id = 0; id < n; id++) rows[(5 * id + 3) % n] = Array.from(embedding.subarray(id * width, (id + 1) * width), (v) => v / 28)
  return rows
}

/** Writes the model with its matrices in a type, and its norms in F32. */
export async function saveRandomLlama(path: string, type: GgmlName, seed = 1): Promise<void> {
  const { width, layers, heads, kvHeads, hidden, vocabulary: tokens, context } = size
  const tensors = new Map<string, Tensor | Weight>()
  let n = 0, embedding: TypedArray = new Float32Array()
  for (const [name, shape, deviation] of shapes()) {
    let values = randn(shape, { seed: 1000 * seed + n++ }).mul(deviation)
    // Each token makes another one likely, as in texts: where all are about as likely, rounding decides which comes.
    if (name === "token_embd.weight") embedding = await values.data()
    if (name === "output.weight") values = values.add(tensor(successors(embedding)))
    if (shape.length === 1) tensors.set(name, values.add(1))
    else tensors.set(name, quantizeWeight(ggml[type], (await values.data()) as Float32Array, shape as [number, number]))
  }
  const metadata = new Map<string, GgufValue>([
    ["general.architecture", text("llama")],
    ["general.name", text("random")],
    ["llama.context_length", count(context)],
    ["llama.embedding_length", count(width)],
    ["llama.block_count", count(layers)],
    ["llama.feed_forward_length", count(hidden)],
    ["llama.attention.head_count", count(heads)],
    ["llama.attention.head_count_kv", count(kvHeads)],
    ["llama.attention.layer_norm_rms_epsilon", { type: "f32", value: 1e-5 }],
    ["llama.rope.dimension_count", count(width / heads)],
    ["llama.rope.freq_base", { type: "f32", value: 10000 }],
    ["llama.vocab_size", count(tokens)],
    ...vocabulary(),
  ])
  await saveGguf(path, { metadata, tensors })
}
