// The composites that the wasm device has tuned kernels for; everything else runs as its expansion.
import type { Holes } from "../emit/kernel.ts"
import type { Template } from "./holes.ts"
import { matmul } from "./matmul.ts"

export const templates: Readonly<Record<string, (holes: Holes) => Template>> = {
  matmul: ({ dims, operands, result, scratch, threadScratch, features }) =>
    matmul(dims as { batch: number; m: number; k: number; n: number }, { a: operands.a!, b: operands.b!, result, scratch, threadScratch }, features),
}
