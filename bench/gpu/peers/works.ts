import type { Work } from "../../work.ts"
import { attention, exp, gelu, layerNorm, matmul, matvec, q4, softmax, train } from "../../works.ts"

const million = 1024 * 1024

/** What GPUs are compared by; or the same in little, for machines that have none. */
export const gpuWorks = (tiny: boolean): readonly Work[] => tiny ? small : large

const heads = { heads: 32, size: 128 }
const large: readonly Work[] = [
  ...[1024, 2048, 4096].flatMap((n) => [matmul(n), matmul(n, true)]),
  matvec(),
  q4(),
  q4(11008, 4096),
  q4(4096, 11008),
  softmax(),
  layerNorm(),
  gelu(16 * million),
  exp(16 * million),
  ...[false, true].flatMap((half) => [attention({ ...heads, queries: 1, keys: 2048, half }), attention({ ...heads, queries: 2048, keys: 2048, half })]),
  train("sgd", 0.01),
  train("adam", 0.001),
  matmul(8192),
  matmul(8192, true),
]

const few = { heads: 2, size: 32 }
const small: readonly Work[] = [
  matmul(128),
  matmul(128, true),
  matvec(96, 128),
  q4(96, 128),
  softmax(70, 64),
  layerNorm(70, 64),
  gelu(5000),
  exp(5000),
  ...[false, true].flatMap((half) => [attention({ ...few, queries: 1, keys: 64, half }), attention({ ...few, queries: 64, keys: 64, half })]),
  train("sgd", 0.01, { batch: 8, sizes: [20, 16, 10] }),
  train("adam", 0.001, { batch: 8, sizes: [20, 16, 10] }),
]
