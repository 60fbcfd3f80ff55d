import { matrixStage, type MatrixOptions } from "../recipe/matrix-stage.ts"
import type { Stage } from "../recipe/stage.ts"

/** A stage that leaves weights out of the matrices of a model. */
export const prune = (options: MatrixOptions): Stage => matrixStage("prune", options)
