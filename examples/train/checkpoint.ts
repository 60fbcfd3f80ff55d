import { adamW, loadState, stateDict } from "@thimble/core"
import { openSafetensors, saveSafetensors } from "@thimble/formats"
import type { Parameters } from "./model.ts"
import type { Snapshot } from "./loop.ts"

/** What was seen after a step: the loss of its batch, a mean since the last line, and the held-out perplexity where it was taken. */
export interface Line { readonly step: number; readonly loss: number; readonly perplexity?: number }
/** A snapshot with what has to be the same for going on from it, and the lines so far. */
export interface Saved { readonly snapshot: Snapshot; readonly settings: string; readonly lines: readonly Line[] }

/** Writes a checkpoint; an older one at the path is replaced when the new one is complete. */
export async function saveCheckpoint(path: string, { snapshot: { step, parameters, state }, settings, lines }: Saved): Promise<void> {
  await saveSafetensors(path, stateDict({ parameters, state }), { metadata: { step: String(step), settings, lines: JSON.stringify(lines) } })
}

/** Reads a checkpoint of a model like `parameters`. */
export async function openCheckpoint(path: string, parameters: Parameters): Promise<Saved> {
  await using file = await openSafetensors(path)
  const { step, settings, lines } = file.metadata as Record<string, string>
  const loaded = loadState({ parameters, state: adamW({ rate: 0 }).init(parameters) }, await file.tensors())
  return { snapshot: { step: Number(step), ...loaded }, settings: settings!, lines: JSON.parse(lines!) as Line[] }
}
