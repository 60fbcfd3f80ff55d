import type { KindOf, Stores } from "@thimble/models"
import { matrixStage, type MatrixOptions } from "../recipe/matrix-stage.ts"
import type { Method } from "../recipe/method.ts"
import type { Rule } from "../recipe/rules.ts"
import type { Stage } from "../recipe/stage.ts"

/** The same options, whose types tell what matrices will be stored in. */
export interface QuantizeOptions<M extends Method, R extends Rule> extends MatrixOptions {
  readonly default?: M
  readonly rules?: readonly R[]
}

/** A stage that stores the matrices of a model in fewer bits. */
export const quantize = <M extends Method = never, R extends Rule = never>(options: QuantizeOptions<M, R>): Stage & Stores<KindOf<M> | KindOf<R>> => matrixStage("quantize", options)
