import { asModel } from "../train/export.ts"
import { train, type TrainOptions, type Trained } from "../train/loop.ts"
import { compare, type CompareOptions, type Saved } from "./compare.ts"
import type { Corpus } from "./data.ts"
import { plain } from "./schemes.ts"

export interface TrainedOptions extends Omit<TrainOptions, "text">, Pick<CompareOptions, "out" | "count" | "onStart"> {
  readonly corpus: Corpus
  /** Windows of the held-out text: how long they are, how far apart, and how many bytes are read. */
  readonly protocol: { readonly context: number; readonly stride: number; readonly tokens: number }
  readonly prompt: string
  /** Called when training has ended. */
  readonly onTrained?: (trained: Trained) => void
}

/** Trains a model of bytes, compresses it, and measures what that cost. An interruption ends the training, not what follows. */
export async function trainAndCompare(options: TrainedOptions): Promise<{ trained: Trained; rows: Saved[] }> {
  const { config, corpus, protocol, prompt, count, out, onTrained, onStart } = options
  const trained = await train({ ...options, text: corpus.training })
  onTrained?.(trained)
  const rows = await compare(asModel(trained.parameters, config), {
    schemes: plain, name: "f32", file: "safetensors", out, count, prompt: [...new TextEncoder().encode(prompt)],
    text: [...corpus.heldOut.subarray(0, protocol.tokens)], protocol: { ...protocol, bos: false }, ...(onStart && { onStart }),
  })
  return { trained, rows }
}
