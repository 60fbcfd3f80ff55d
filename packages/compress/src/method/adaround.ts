import type { Stores } from "@thimble/models"
import type { QuantizedFormat } from "../quantizer.ts"
import { solveAdaround, type AdaroundOptions } from "../quantize/adaround.ts"
import type { Method } from "../recipe/method.ts"
import { reconstructed } from "./reconstructed.ts"

export interface AdaroundMethodOptions<K extends string = string> extends Pick<AdaroundOptions, "steps" | "rate" | "regularizer"> {
  readonly format: QuantizedFormat & Stores<K>
}

/** AdaRound (Nagel et al., arXiv 2004.10568): whether each weight is rounded up or down, by what the outputs of its matrix lose. */
export const adaround = <K extends string = string>({ format, ...options }: AdaroundMethodOptions<K>): Method & Stores<K> =>
  reconstructed({ name: "adaround", json: "adaround", format, options }, (values, shape, h, more) => solveAdaround(values, shape, h, { ...options, format, ...more }))
