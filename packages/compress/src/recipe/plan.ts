import { fail } from "@thimble/core"
import type { Json, KindOf, Model } from "@thimble/models"
import type { Calibration } from "./calibration.ts"
import { startJob, type Job, type RunOptions } from "./job.ts"
import { outlineBytes, outlineOf, outlineSize, parametersOf } from "./outline.ts"
import { table } from "./print.ts"
import type { PlannedStage, Stage } from "./stage.ts"

/** One stage, or several that follow one another. */
export type Recipe<S extends Stage = Stage> = S | readonly S[]

/** What a recipe will do with a model. Nothing was touched yet; it prints as a table. */
export interface Plan<K extends string = string> {
  readonly stages: readonly PlannedStage[]
  readonly bytesBefore: number
  readonly bytesAfter: number
  /** Elements of all matrices and vectors. */
  readonly parametersBefore: number
  readonly parametersAfter: number
  /** Stored bits by element of all matrices. */
  readonly bitsPerWeight: number
  /** What calibration data is needed for; nothing unless given. */
  readonly needs?: string
  toString(): string
  toJSON(): Json
  /** Starts to do it; data where it is needed. */
  run(data?: Calibration, options?: RunOptions): Job<K>
}

/** Looks at what a recipe would do with a model. All that does not fit is listed in one error. */
export function plan<S extends Stage>(model: Model, recipe: Recipe<S>): Plan<KindOf<S>> {
  const stages = (Array.isArray(recipe) ? recipe : [recipe]) as readonly Stage[]
  if (stages.length === 0) fail("value", "plan", "the recipe has no stages")
  const planned: PlannedStage[] = [], first = outlineOf(model)
  let outline = first
  for (const stage of stages) {
    planned.push(stage.plan(outline))
    outline = planned.at(-1)!.after
  }
  const needs = planned.map((s) => s.needs).filter((n) => n !== undefined).join("; ")
  const bytesBefore = outlineBytes(first), bytesAfter = outlineBytes(outline), parametersBefore = parametersOf(first.config), parametersAfter = parametersOf(outline.config), bitsPerWeight = (8 * (bytesAfter - outline.vectorBytes)) / Math.max(1, outlineSize(outline))
  const json = (): Json => ({ recipe: stages.map((s) => s.toJSON()), entries: planned.map((s) => s.entries), bytesBefore, bytesAfter, parametersBefore, parametersAfter, bitsPerWeight })
  const print = (): string => {
    const parts = planned.map(({ kind, entries }) => `${kind}\n${table(["matrix", "shape", "method", "from", "to", "bytes", "why"], entries.map((e) => [e.path, e.shape.join("×"), e.method, e.from, e.to, `${e.bytesBefore} → ${e.bytesAfter}${kind === "prune" && e.bytesAfter >= e.bytesBefore ? ", no saving" : ""}`, e.why]))}`)
    return [...parts, `${bytesBefore} → ${bytesAfter} bytes, ${bitsPerWeight.toFixed(3)} bits per weight${parametersAfter === parametersBefore ? "" : `, ${parametersBefore} → ${parametersAfter} parameters`}${needs === "" ? "" : `; needs calibration data: ${needs}`}`].join("\n\n")
  }
  return {
    stages: planned, bytesBefore, bytesAfter, parametersBefore, parametersAfter, bitsPerWeight, ...(needs !== "" && { needs }),
    toString: print, toJSON: json,
    run: (data, options = {}) => startJob(model, stages, planned, needs, data, options),
    // What Node prints an object as.
    [Symbol.for("nodejs.util.inspect.custom") as never]: print,
  }
}
