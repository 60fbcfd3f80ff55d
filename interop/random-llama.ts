import { readFileSync } from "node:fs"
import { denseWeight, quantizeWeight, randn, tensor, type Tensor, type TypedArray, type Weight } from "@thimble/core"
import { ggml, openSentencePiece, type GgmlName } from "@thimble/formats"
import { createModel, expectedTensors, type Config, type Model, type Role } from "@thimble/models"

/** A small Llama whose rows are whole super-blocks of 256, so that every type of GGUF files can store it. */
const config: Config = {
  architecture: "llama", vocabulary: 512, width: 256, layers: 2, heads: 8, kvHeads: 4, headSize: 32, hidden: 512, context: 256, eps: 1e-5,
  activation: "silu", tied: false, biases: [], rope: { base: 10000, features: 32 }, bos: 1, eos: [2],
}

/** Standard deviations of matrices, times √columns; 1 unless given. */
const deviations: Partial<Record<Role, number>> = { embedding: 16, output: 0.4, down: 0.4 }

/** A model of random weights, with the vocabulary of stories260K. */
export async function randomLlama(seed = 1): Promise<Model> {
  const parameters: Record<string, Weight | Tensor> = {}
  let embedding: TypedArray | undefined
  for (const [i, { name, path, role, kind, shape }] of expectedTensors(config).entries()) {
    let values = randn(shape, { seed: 1000 * seed + i }).mul(kind === "matrix" ? (deviations[role] ?? 1) / Math.sqrt(shape[1]!) : 0.2)
    // Each token makes another one likely, as in texts: where all are about as likely, rounding decides which comes.
    if (role === "embedding") embedding = await values.data()
    if (role === "head") values = values.add(tensor(successors(embedding!)))
    if (kind === "matrix") parameters[path] = denseWeight(values)
    else parameters[name] = values.add(1)
  }
  const pieces = new Uint8Array(readFileSync(new URL("../packages/formats/fixtures/stories260K/tok512.model", import.meta.url)))
  return createModel(config, parameters, { tokenizer: await openSentencePiece(pieces), files: new Map([["tokenizer.model", pieces]]) })
}

/** Rows of the head that find the token before: 5·i + 3 follows i. */
function successors(embedding: TypedArray): number[][] {
  const { vocabulary: n, width } = config, rows: number[][] = []
  for (let id = 0; id < n; id++) rows[(5 * id + 3) % n] = Array.from(embedding.subarray(id * width, (id + 1) * width), (v) => v / 28)
  return rows
}

/** A model with all matrices in one type. */
export async function storedAs(model: Model, type: GgmlName): Promise<Model> {
  const changed: Record<string, Weight> = {}
  for (const [name, weight] of Object.entries(model.weights)) changed[name] = quantizeWeight(ggml[type], (await weight.dense().data()) as Float32Array, weight.shape)
  return model.with(changed)
}
