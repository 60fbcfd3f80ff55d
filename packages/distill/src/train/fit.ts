import type { Model } from "@thimble/models"
import { asNetwork, type Network, type Parameters } from "../network.ts"
import { checkLength, checkModels, checkOptions } from "./check.ts"
import { train } from "./loop.ts"
import type { Run, TrainOptions } from "./options.ts"

export interface FitOptions<M extends Model | Network> extends TrainOptions<M> {
  /** What learns; it is not changed, finish() gives another. */
  readonly model: M
}

/** Trains a model on labels: `for await (const { step, loss } of fit({ model, loss: labels(), data, optimizer, steps })) …` */
export function fit<M extends Model | Network>(options: FitOptions<M>): Run<Parameters<M>> {
  const student = asNetwork(options.model)
  checkOptions("fit", options)
  checkModels("fit", options.loss, student, undefined)
  checkLength("fit", options.data.length, { model: student })
  return train("fit", student, {}, options)
}
