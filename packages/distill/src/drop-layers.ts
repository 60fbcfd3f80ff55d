import { fail } from "@thimble/core"
import { keepBlocks, type Model } from "@thimble/models"

/** Every second block, from the first on, of `layers` (DistilBERT: Sanh et al., 2019, arXiv:1910.01108, §3). */
export const everySecond = (layers: number): number[] => Array.from({ length: Math.ceil(layers / 2) }, (_, i) => 2 * i)
/** `count` of `layers` blocks, evenly, the first and the last among them. */
export const evenBlocks = (layers: number, count: number): number[] => Array.from({ length: count }, (_, i) => (count === 1 ? 0 : Math.round((i * (layers - 1)) / (count - 1))))

/**
 * A student that starts as some of a model's blocks, in their order, with its embedding and head: a model of fewer layers, which saves and loads
 * like any other. Its tensors are the model's own; training copies what it changes.
 */
export function dropLayers(model: Model, keep: readonly number[] | ((layers: number) => readonly number[])): Model {
  const { config } = model, kept = typeof keep === "function" ? keep(config.layers) : keep
  if (kept.length === 0) fail("value", "dropLayers", "no block is left")
  const strange = kept.find((l) => !(Number.isInteger(l) && l >= 0 && l < config.layers))
  if (strange !== undefined) fail("value", "dropLayers", `there is no block ${strange}`, `the model has ${config.layers}, from 0 on`)
  if (kept.some((l, i) => i > 0 && l <= kept[i - 1]!)) fail("value", "dropLayers", `blocks must be named once, in their order, got ${kept.join(", ")}`)
  return keepBlocks(model, kept)
}
