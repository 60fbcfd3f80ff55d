// The composites that the webgpu device has tuned kernels for, best first; everything else runs as its expansion.
import type { Features, Template } from "./holes.ts"
import { attentionFew } from "./attention.few.ts"
import { attentionMany } from "./attention.many.ts"
import { attentionMatrices } from "./attention.matrices.ts"
import { matmul } from "./matmul.ts"
import { matmulFew } from "./matmul.few.ts"
import { layerNorm, logSoftmax, rmsNorm, softmax } from "./rows.ts"
import { quantizedByMatrices } from "./quantized.matrices.ts"
import { scatterAdd } from "./scatter.ts"
import { layerNormQuantizedMatmul, quantizedMatmul, rmsNormQuantizedMatmul } from "./quantized.ts"

export const templates: Readonly<Record<string, readonly Template[]>> = {
  matmul: [matmulFew, matmul],
  quantizedMatmul: [quantizedMatmul, quantizedByMatrices],
  rmsNormQuantizedMatmul: [rmsNormQuantizedMatmul],
  layerNormQuantizedMatmul: [layerNormQuantizedMatmul],
  attention: [attentionFew, attentionMatrices, attentionMany],
  softmax: [softmax],
  logSoftmax: [logSoftmax],
  layerNorm: [layerNorm],
  rmsNorm: [rmsNorm],
  scatterAdd: [scatterAdd],
}

/** The template of a composite for these sizes on this adapter. */
export const templateFor = (name: string, dims: Readonly<Record<string, number>>, features: Features): Template | undefined =>
  Object.hasOwn(templates, name) ? templates[name]!.find((t) => t.accepts?.(dims, features) ?? true) : undefined
