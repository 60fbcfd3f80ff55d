import type { Unit } from "./row.ts"

/** What each kind of work is given. Matrices are row-major. */
export interface Jobs {
  /** a[m,k] · b[k,n]; stored as 16-bit floats where `half` says so, and the inputs are such numbers then. */
  matmul: { dims: { m: number; k: number; n: number; half: boolean }; inputs: { a: Float32Array; b: Float32Array } }
  /** x[columns] · w[rows,columns]ᵀ */
  matvec: { dims: Matrix; inputs: { x: Float32Array; w: Float32Array } }
  /** The same with w = (code − 8) · scale, one scale per `group` neighbours of a row; activations may be rounded to int8. */
  q4: { dims: Matrix & { group: number }; inputs: { x: Float32Array; codes: Uint8Array; scales: Float32Array } }
  /** gelu(x · scale + shift), the tanh form. */
  gelu: { dims: { size: number; scale: number; shift: number }; inputs: { x: Float32Array } }
  exp: { dims: { size: number }; inputs: { x: Float32Array } }
  /** Over the last axis, like the two norms. */
  softmax: { dims: Matrix; inputs: { x: Float32Array } }
  layerNorm: { dims: Matrix & { epsilon: number }; inputs: { x: Float32Array; scale: Float32Array; shift: Float32Array } }
  rmsNorm: { dims: Matrix & { epsilon: number }; inputs: { x: Float32Array; scale: Float32Array } }
  sum: { dims: Matrix & { axis: 0 | 1 }; inputs: { x: Float32Array } }
  /** Written out: a view does not count. */
  transpose: { dims: Matrix; inputs: { x: Float32Array } }
  /** softmax(q·kᵀ/√size)·v for q [heads, queries, size] and k, v [heads, keys, size]; of many queries, each sees the keys up to its own. */
  attention: { dims: AttentionDims; inputs: { q: Float32Array; k: Float32Array; v: Float32Array } }
  /** One step on one batch: relu between layers, mean softmax cross-entropy. The result is all parameters, in order. */
  train: { dims: TrainDims; inputs: { x: Float32Array; targets: Float32Array; params: Float32Array[] } }
  /** Pre-norm blocks with causal attention and a gelu (tanh) network; from activations to activations. */
  transformer: { dims: TransformerDims; inputs: { x: Float32Array; layers: TransformerLayer[] } }
}

export interface Matrix {
  rows: number
  columns: number
}

export interface AttentionDims {
  heads: number
  size: number
  /** One, which sees all keys, or as many as keys. */
  queries: number
  keys: number
  half: boolean
}

export interface TrainDims {
  batch: number
  /** Widths from input to logits; parameters alternate weights[in,out] and bias[out]. */
  sizes: readonly number[]
  optimizer: "sgd" | "adam"
  rate: number
}

/** Adam's other constants, as in its paper. */
export const adam = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }

export interface TransformerDims {
  layers: number
  tokens: number
  width: number
  heads: number
  hidden: number
  epsilon: number
}

/** Weights are [in, out]; a participant may lay them out anew while preparing. */
export interface TransformerLayer {
  norm1Scale: Float32Array
  norm1Shift: Float32Array
  qkv: Float32Array
  out: Float32Array
  norm2Scale: Float32Array
  norm2Shift: Float32Array
  up: Float32Array
  upBias: Float32Array
  down: Float32Array
  downBias: Float32Array
}

/** A sample of the right answer, in float64. */
export interface Expected {
  /** Elements the whole result has. */
  size: number
  /** Flat indices looked at, and what stands there. */
  at: Uint32Array
  values: Float64Array
  /** What differences are relative to: the root mean square of what the work computes. */
  scale: number
}

export type Op = keyof Jobs

export interface WorkOf<O extends Op> {
  readonly name: string
  readonly op: O
  readonly dims: Jobs[O]["dims"]
  readonly unit: Unit
  /** GFLOP or GB in one run; not used for ms. */
  readonly amount: number
  /** Runs before the result is compared: 1, or the steps of training after which a wrong optimizer shows. */
  readonly runs: number
  /** Largest difference allowed, relative to the scale of the expected values. */
  readonly tolerance: number
  /** The same numbers on every call and every machine. */
  inputs(): Jobs[O]["inputs"]
  expected(): Expected
}

export type Work = { [O in Op]: WorkOf<O> }[Op]
