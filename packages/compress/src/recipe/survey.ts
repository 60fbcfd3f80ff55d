import type { Model } from "@thimble/models"
import type { Calibration } from "./calibration.ts"
import { matrixOf, type Matrix, type Statistics } from "./method.ts"
import type { Statistic } from "./statistic.ts"
import { observe, streamOf } from "./stream.ts"

/** A model before any of its matrices is changed, and which of them a method will treat. */
export interface Surveyed {
  readonly model: Model
  readonly paths: readonly string[]
  readonly data?: Calibration
  readonly signal?: AbortSignal
}

/** Visits matrices one by one, block after block, with what observers say of their inputs; without data, if there are none. */
export async function visitMatrices({ model, paths, data, signal }: Surveyed, observes: readonly Statistic[], visit: (matrix: Matrix, layer: number | undefined, statistics: Statistics | undefined) => Promise<void> | void): Promise<void> {
  const blocks = model.blocks(), wanted = new Set(paths), inBlocks = new Set(blocks.flatMap((b) => b.linears))
  let stream = observes.length === 0 ? undefined : await streamOf(model, data!, signal)
  const part = async (own: readonly string[], layer: number | undefined, watched: Parameters<typeof observe>[1]): Promise<void> => {
    if (own.length === 0) return
    const seen = stream && (await observe(stream, watched, new Map(own.map((p) => [p, observes])), { ...(signal && { signal }) }))
    try {
      for (const p of own) {
        signal?.throwIfAborted()
        await visit(await matrixOf(p, model.weights[p]!), layer, seen?.of(p))
      }
    } finally {
      seen?.dispose()
    }
  }
  try {
    for (const block of blocks) {
      await part(block.linears.filter((p) => wanted.has(p)), block.layer, (x, see) => block.forward(x, { observe: see }))
      if (stream !== undefined) stream = await stream.through((x) => block.forward(x), signal)
    }
    await part(paths.filter((p) => !inBlocks.has(p)), undefined, (x, see) => model.head(x, { observe: see }))
  } finally {
    stream?.dispose()
  }
}
