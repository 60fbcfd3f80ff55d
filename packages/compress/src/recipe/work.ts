import type { Tensor, Weight } from "@thimble/core"
import type { Model } from "@thimble/models"
import type { Work } from "./checkpoint.ts"
import { onDevice, weightOf, type Method, type Stored } from "./method.ts"
import type { ReportEntry } from "./stage.ts"

/** What a checkpoint keeps of a part: what was rounded, and what factors were `moved` into. */
export async function workOf(model: Model, moved: ReadonlySet<string>, stored: Readonly<Record<string, Stored>>, vectors: ReadonlyMap<string, Float32Array>, entries: readonly ReportEntry[]): Promise<Work> {
  const matrices: Record<string, Work["matrices"][string]> = Object.fromEntries(Object.entries(stored).map(([path, { format, ...rest }]) => [path, { ...rest, format: typeof format === "string" ? format : format.name }]))
  for (const path of moved) {
    const weight = model.weights[path]!
    if (stored[path] !== undefined || typeof weight.storage !== "string") continue
    const t = weight.parts().values!
    matrices[path] = { format: weight.storage, parts: { values: { data: await t.raw(), shape: t.shape, dtype: t.dtype } } }
  }
  return { matrices, vectors: Object.fromEntries(vectors), entries }
}

/** What a part became, out of a checkpoint. */
export function restored({ matrices, vectors }: Work, model: Model, methods: ReadonlyMap<string, Method>): Record<string, Weight | Tensor> {
  const changed: Record<string, Weight | Tensor> = {}
  for (const [path, { format, ...rest }] of Object.entries(matrices)) {
    const { shape } = model.weights[path]!, target = methods.get(path)?.target(shape), planned = target === undefined || "unfit" in target ? undefined : target.format
    const known = typeof planned === "object" && planned.name === format ? planned : (format as "f32")
    changed[path] = weightOf({ ...rest, format: known }, shape)
  }
  for (const [name, values] of Object.entries(vectors)) changed[name] = onDevice(values, model.vectors[name]!.shape)
  return changed
}
