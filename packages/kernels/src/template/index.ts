// The composites that the wasm device has tuned kernels for; everything else runs as its expansion.
import type { Holes } from "../emit/kernel.ts"
import { acceptsAttention, attention } from "./attention.ts"
import type { Template } from "./holes.ts"
import { acceptsListed, listedMatmul } from "./listed.ts"
import { maskedMatmul } from "./masked.ts"
import { matmul } from "./matmul.ts"
import { acceptsScatter, scatterAdd } from "./scatter.ts"
import { layerNorm, logSoftmax, rmsNorm, softmax } from "./rows.ts"
import { acceptsGridded, acceptsQuantized, quantizedMatmul } from "./quantized.ts"

interface Row {
  emit(holes: Holes): Template
  /** Sizes it can do; all unless given. */
  accepts?(dims: Readonly<Record<string, number>>): boolean
}

export const templates: Readonly<Record<string, Row>> = {
  matmul: {
    emit: ({ dims, operands, result, scratch, threadScratch, features }) =>
      matmul(dims as { batch: number; m: number; k: number; n: number }, { a: operands.a!, b: operands.b!, result, scratch, threadScratch }, features),
  },
  scatterAdd: { emit: scatterAdd, accepts: acceptsScatter },
  attention: { emit: attention, accepts: acceptsAttention },
  softmax: { emit: softmax },
  logSoftmax: { emit: logSoftmax },
  layerNorm: { emit: layerNorm },
  rmsNorm: { emit: rmsNorm },
  quantizedMatmul: { emit: quantizedMatmul, accepts: acceptsQuantized },
  griddedMatmul: { emit: quantizedMatmul, accepts: acceptsGridded },
  listedMatmul: { emit: listedMatmul, accepts: acceptsListed },
  maskedMatmul: { emit: maskedMatmul },
}
