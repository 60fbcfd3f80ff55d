import { isFloat } from "./dtype.ts"
import { fail } from "./errors.ts"
import type { Tensor } from "./tensor.ts"
import { stateDict } from "./tree.ts"

/** The tensors of a model by dotted name, those that train apart from the others. */
export interface Partition {
  readonly trainable: Readonly<Record<string, Tensor>>
  readonly frozen: Readonly<Record<string, Tensor>>
}

/**
 * Splits the tensors of a model: trainable are the floats that `trains` picks by name, frozen all others. Both are trees,
 * so gradients and optimizers take `trainable` as it is, and `loadState(model, { ...trainable, ...frozen })` puts them
 * together again. A tensor at two places is asked for once, under its first name.
 */
export function partition(model: unknown, trains: (path: string, tensor: Tensor) => boolean): Partition {
  const trainable: Record<string, Tensor> = {}, frozen: Record<string, Tensor> = {}
  for (const [path, tensor] of Object.entries(stateDict(model))) {
    if (isFloat(tensor.dtype) && trains(path, tensor)) trainable[path] = tensor
    else frozen[path] = tensor
  }
  const names = Object.keys(frozen)
  if (Object.keys(trainable).length === 0)
    fail("value", "partition", `nothing is left to train among ${names.length} tensors`, names.length === 0 ? "the model has no tensors" : `names are like '${names[0]}'`)
  return { trainable, frozen }
}
