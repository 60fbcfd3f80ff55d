import { fail } from "@thimble/core"
import type { Json, Stores } from "@thimble/models"
import type { Method } from "../recipe/method.ts"
import { squares } from "../recipe/statistic.ts"
import { encodeRows } from "../parallel/encode-rows.ts"
import type { MatrixShape, QuantizedFormat } from "../quantizer.ts"
import { cost } from "./target.ts"

/** Importances of columns by the paths of matrices: what `importancesOf` reads out of an importance matrix. */
export type Importances = ReadonlyMap<string, Float32Array>

export interface RtnOptions<K extends string = string> {
  readonly format: QuantizedFormat & Stores<K>
  /**
   * Encoders that search weigh what they lose: not at all (`none`, unless given), with the mean square of each column's input over
   * the calibration data (`inputs`), or with importances that are there. Matrices that these lack are not weighed.
   */
  readonly importance?: "none" | "inputs" | Importances
}

/** Round to nearest: each matrix is encoded by its format, by itself. */
export function rtn<K extends string = string>(options: RtnOptions<K> | (QuantizedFormat & Stores<K>)): Method & Stores<K> {
  const { format, importance = "none" } = "format" in options ? options : { format: options }
  const seen = importance === "inputs", given = typeof importance === "object" ? importance : undefined
  if (typeof importance === "string" && importance !== "none" && !seen) fail("value", "rtn", `importance must be none, inputs or a map, got ${importance}`)
  return {
    name: importance === "none" ? "rtn" : "rtn, importance",
    toJSON: (): Json => ({ method: "rtn", format: format.name, importance: given === undefined ? importance : { checksum: checksum(given) } }),
    ...(seen && { observes: [squares] }),
    target: (shape: MatrixShape) => cost(format, shape),
    async round({ path, values, shape }, statistics, { signal } = {}) {
      const weights = seen ? ((await statistics!.of(squares).data()) as Float32Array).map((s) => s / statistics!.tokens) : given?.get(path)
      return { stored: { format, parts: await encodeRows(format, values, shape, { ...(weights && { importance: weights }), ...(signal && { signal }) }) } }
    },
  }
}

/** Tells importances apart, so that a checkpoint is not gone on with under others (FNV-1a, 32 bits). */
function checksum(importances: Importances): string {
  let hash = 0x811c9dc5
  const mix = (byte: number): void => void (hash = Math.imul(hash ^ byte, 0x01000193))
  for (const [path, values] of importances) {
    for (let i = 0; i < path.length; i++) mix(path.charCodeAt(i))
    new Uint8Array(values.buffer, values.byteOffset, values.byteLength).forEach(mix)
  }
  return (hash >>> 0).toString(16)
}
