import { fail, type Activations } from "@thimble/core"
import type { Json, Stores } from "@thimble/models"
import { endsNamed, type Ends } from "../format/ends.ts"
import { activationGrid } from "../quantize/activations.ts"
import { histogram, minMax } from "../quantize/observe.ts"
import { wrapped, type Method } from "../recipe/method.ts"
import { sampled } from "../recipe/statistic.ts"

export interface ActivationMethodOptions<K extends string = string> {
  /** How the matrix is stored. */
  readonly method: Method & Stores<K>
  /**
   * Who shares a scale of activations: 32 neighbours (`block`) or a `token`, found while the model runs; or all of them
   * (`tensor`), found by calibration.
   */
  readonly scale: "block" | "token" | "tensor"
  /** How far codes of a calibrated scale reach: over the `whole` of what was seen (unless given), or as `mse`, `percentile` or `entropy` find best. */
  readonly ends?: "whole" | Ends
  /** Inputs that a calibrated scale is found on; 1024 unless given. */
  readonly samples?: number
}

/** What a scale that goes with a matrix takes. */
const scaleBytes = 4

/** Products with activations in int8: with `rtn(int(8))` for the matrix it is W8A8, computed on integers. */
export function int8Activations<K extends string = string>({ method, scale, ends = "whole", samples = 1024 }: ActivationMethodOptions<K>): Method & Stores<K> {
  if (scale !== "block" && scale !== "token" && scale !== "tensor") fail("value", "int8Activations", `scale must be block, token or tensor, got ${String(scale)}`)
  const rows = sampled(samples), found: Activations | undefined = scale === "block" ? "int8" : scale === "token" ? "int8PerToken" : undefined
  return {
    ...method,
    name: `${method.name}, int8 activations per ${scale}`,
    toJSON: (): Json => ({ method: "int8 activations", then: method.toJSON(), scale, ...(ends !== "whole" && { ends: ends.name }), samples }),
    ...wrapped(method, (own) => int8Activations({ method: own, scale, ends, samples })),
    ...(found === undefined && { observes: [...(method.observes ?? []).filter((s) => s.name !== rows.name), rows] }),
    target(shape) {
      const target = method.target(shape)
      return target === undefined || (!("unfit" in target) && typeof target.format === "string") ? { unfit: "activations are rounded for matrices that are stored as integers" } : "unfit" in target || found !== undefined ? target : { ...target, bytes: target.bytes + scaleBytes }
    },
    async round(matrix, statistics, options) {
      const rounded = await method.round(matrix, statistics, options)
      if (rounded === undefined) return undefined
      if (found !== undefined) return { ...rounded, stored: { ...rounded.stored, activations: found } }
      const seen = ends === "whole" ? minMax() : histogram(ends)
      seen.add((await statistics!.of(rows).data()) as Float32Array)
      const { low, high } = seen.range()
      return { ...rounded, stored: { ...rounded.stored, activations: activationGrid([low, high]) } }
    },
  }
}

/** Ends by their name, in JSON. */
export const endsOf = (name: unknown): "whole" | Ends => (name === undefined || name === "whole" ? "whole" : (endsNamed(String(name)) ?? fail("value", "parseRecipe", `no ends are called '${String(name)}'`, "mse, percentile 99.9, entropy")))
