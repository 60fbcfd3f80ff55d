import type { Json } from "@thimble/models"
import type { Method } from "../recipe/method.ts"
import { squares } from "../recipe/statistic.ts"
import type { MatrixShape, QuantizedFormat } from "../quantizer.ts"
import { cost } from "./target.ts"

export interface RtnOptions {
  readonly format: QuantizedFormat
  /** Encoders that search weigh what they lose with the mean square of each column's input (`inputs`), or not at all (unless given). */
  readonly importance?: "none" | "inputs"
}

/** Round to nearest: each matrix is encoded by its format, by itself. */
export function rtn(options: RtnOptions | QuantizedFormat): Method {
  const { format, importance = "none" } = "format" in options ? options : { format: options }
  return {
    name: importance === "inputs" ? "rtn, importance" : "rtn",
    toJSON: (): Json => ({ method: "rtn", format: format.name, importance }),
    ...(importance === "inputs" && { observes: [squares] }),
    target: (shape: MatrixShape) => cost(format, shape),
    async round({ values, shape }, statistics) {
      const seen = importance === "inputs" ? ((await statistics!.of(squares).data()) as Float32Array) : undefined
      return { stored: { format, parts: format.encode(values, shape, seen && { importance: seen.map((s) => s / statistics!.tokens) }) } }
    },
  }
}
