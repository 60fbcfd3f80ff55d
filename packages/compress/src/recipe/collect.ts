import type { Imatrix } from "@thimble/formats"
import { ggufNames, type Block, type Model } from "@thimble/models"
import { imatrixOf, type ColumnStatistics } from "../quantize/statistics.ts"
import type { Calibration } from "./calibration.ts"
import { squares, sums } from "./statistic.ts"
import { observe, streamOf } from "./stream.ts"

export interface CollectOptions {
  /** Name of the text, as the file will have it. */
  readonly dataset?: string
  readonly signal?: AbortSignal
  /** Called after each block. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void
}

/** The importance matrix of a model over calibration data: what goes into each matrix, as llama.cpp's `imatrix` collects it. */
export async function collectImatrix(from: Model, data: Calibration, { dataset, signal, onProgress }: CollectOptions = {}): Promise<Imatrix> {
  const model = await from.loaded(), names = ggufNames(model.config), kept = new Map<string, Pick<ColumnStatistics, "entry">>(), blocks = model.blocks()
  let stream = await streamOf(model, data, signal)
  const take = async (paths: readonly string[], part: Parameters<typeof observe>[1]): Promise<void> => {
    const seen = await observe(stream, part, new Map(paths.map((p) => [p, [squares, sums]])), { ...(signal && { signal }) })
    for (const p of paths) {
      const own = { squares: (await seen.of(p).of(squares).data()) as Float32Array, sums: (await seen.of(p).of(sums).data()) as Float32Array, counts: [data.tokens] }
      kept.set(p, { entry: () => own })
    }
    seen.dispose()
  }
  try {
    for (const [i, block] of blocks.entries()) {
      await take(block.linears, (x, see) => block.forward(x, { observe: see }))
      stream = await stream.through((x) => (block as Block).forward(x), signal)
      onProgress?.({ done: i + 1, total: blocks.length })
    }
    const heads: string[] = []
    model.head(stream.batches[0]!, { observe: (path) => void heads.push(path) })
    await take(heads.filter((p) => names.has(`${p}.weight`)), (x, see) => model.head(x, { observe: see }))
    return imatrixOf(model.config, kept, { datasets: dataset === undefined ? [] : [dataset], chunks: data.sequences.length, chunkSize: data.length })
  } finally {
    stream.dispose()
  }
}
