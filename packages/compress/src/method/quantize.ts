import { matrixStage, type MatrixOptions } from "../recipe/matrix-stage.ts"
import type { Stage } from "../recipe/stage.ts"

/** A stage that stores the matrices of a model in fewer bits. */
export const quantize = (options: MatrixOptions): Stage => matrixStage("quantize", options)
