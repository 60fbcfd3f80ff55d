import { mkdir, stat } from "node:fs/promises"
import { ggml, ggufTypes, saveGguf, type GgmlName, type GgufTensor, type GgufValue } from "@thimble/formats"
import { uniform } from "../random.ts"

/** The Llama that is timed: 134 million parameters. */
export const shape = { layers: 12, width: 768, hidden: 2048, heads: 12, vocabulary: 32000, context: 1024 } as const

const folder = new URL("../out/", import.meta.url)

/** A GGUF file with random weights of a type; written once. */
export async function llamaFile(type: GgmlName): Promise<string> {
  const path = new URL(`llama-${type}.gguf`, folder).pathname
  if (await stat(path).then(() => true, () => false)) return path
  await mkdir(folder, { recursive: true })
  const { layers, width, hidden, heads, vocabulary } = shape, tensors = new Map<string, GgufTensor>()
  const matrix = (name: string, rows: number, columns: number): void => void tensors.set(`${name}.weight`, { type, shape: [rows, columns], bytes: () => blocks(type, rows, columns) })
  const norm = (name: string): void => void tensors.set(`${name}.weight`, { type: "F32", shape: [width], bytes: new Float32Array(width).fill(1) })
  matrix("token_embd", vocabulary, width)
  for (let l = 0; l < layers; l++) {
    norm(`blk.${l}.attn_norm`)
    for (const part of ["q", "k", "v", "output"]) matrix(`blk.${l}.attn_${part}`, width, width)
    norm(`blk.${l}.ffn_norm`)
    for (const part of ["gate", "up"]) matrix(`blk.${l}.ffn_${part}`, hidden, width)
    matrix(`blk.${l}.ffn_down`, width, hidden)
  }
  norm("output_norm")
  matrix("output", vocabulary, width)
  const count = (value: number): GgufValue => ({ type: "u32", value })
  const metadata = new Map<string, GgufValue>([
    ["general.architecture", { type: "string", value: "llama" }],
    ["llama.context_length", count(shape.context)],
    ["llama.embedding_length", count(width)],
    ["llama.block_count", count(layers)],
    ["llama.feed_forward_length", count(hidden)],
    ["llama.attention.head_count", count(heads)],
    ["llama.attention.head_count_kv", count(heads)],
    ["llama.attention.layer_norm_rms_epsilon", { type: "f32", value: 1e-5 }],
    ["llama.rope.dimension_count", count(width / heads)],
    ...names(vocabulary),
  ])
  await saveGguf(path, { metadata, tensors })
  return path
}

let known: { readonly type: GgmlName; readonly bytes: Uint8Array } | undefined
/** Some encoded blocks, as often as it takes. */
async function blocks(type: GgmlName, rows: number, columns: number): Promise<Uint8Array> {
  const { size, bytes } = ggufTypes[type], some = 256 * 1024
  if (known?.type !== type) {
    const parts = ggml[type].encode(uniform(1, some, -0.05, 0.05), [some / 256, 256])
    known = { type, bytes: ggml[type].join(parts, [some / 256, 256]) }
  }
  const out = new Uint8Array((rows * columns / size) * bytes)
  for (let at = 0; at < out.length; at += known.bytes.length) out.set(known.bytes.subarray(0, out.length - at), at)
  return out
}

/** A vocabulary of sentencepiece's kind: three tokens that stand for no text, all bytes, and words. */
function names(size: number): [string, GgufValue][] {
  const all = ["<unk>", "<s>", "</s>", ...Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`)]
  for (let n = 0; all.length < size; n++) all.push(`\u2581${n.toString(36)}`)
  return [
    ["tokenizer.ggml.model", { type: "string", value: "llama" }],
    ["tokenizer.ggml.tokens", { type: "array", of: "string", value: all }],
    ["tokenizer.ggml.scores", { type: "array", of: "f32", value: Float32Array.from(all, (_, i) => -i) }],
    // 1 normal, 2 unknown, 3 control, 6 byte.
    ["tokenizer.ggml.token_type", { type: "array", of: "i32", value: Int32Array.from(all, (_, i) => (i === 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1)) }],
    ["tokenizer.ggml.bos_token_id", { type: "u32", value: 1 }],
    ["tokenizer.ggml.eos_token_id", { type: "u32", value: 2 }],
  ]
}
