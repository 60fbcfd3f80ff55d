import { denseWeight, tensor, type Tensor, type Weight } from "@thimble/core"
import { createModel, type Config, type Model } from "@thimble/models"

/** Changes values in place, or gives others in another shape; of a matrix they are row-major [rows, columns]. */
export type Change = (values: Float64Array, shape: readonly [rows: number, columns: number]) => void | Changed
export interface Changed { readonly values: Float64Array; readonly shape: readonly [rows: number, columns: number] }

/** Changes of a model, to be made all at once: each matrix is read, changed in float64 and rounded to f32 once, one after the other. */
export interface ModelEdit {
  /** A change of a matrix, by its module, after those that were asked for before. */
  matrix(path: string, change: Change): void
  /** A change of a norm or bias, by its full name; nothing if the model has none of it. */
  vector(name: string, change: (values: Float64Array) => void | Float64Array): void
  /** A matrix of its own that starts as another one is without any change. */
  copy(from: string, to: string): void
  run(options?: EditOptions): Promise<Model>
}
export interface EditOptions {
  /** Ends it, between two matrices; the model stays as it was. */
  readonly signal?: AbortSignal
  /** After each matrix. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number; readonly path: string }) => void
}

export function modelEdit(model: Model, config: Config = model.config): ModelEdit {
  const matrices = new Map<string, Change[]>(), vectors = new Map<string, ((values: Float64Array) => void | Float64Array)[]>(), sources = new Map<string, string>()
  const push = <T>(map: Map<string, T[]>, key: string, change: T): void => void map.set(key, [...(map.get(key) ?? []), change])
  return {
    matrix: (path, change) => push(matrices, path, change),
    vector: (name, change) => name in model.vectors && push(vectors, name, change),
    copy: (from, to) => void sources.set(to, from),
    async run({ signal, onProgress } = {}) {
      const { tokenizer, files, metadata, stated } = model, changed: Record<string, Weight | Tensor> = { ...model.weights, ...model.vectors }
      const paths = [...new Set([...matrices.keys(), ...sources.keys()])]
      for (const [i, path] of paths.entries()) {
        signal?.throwIfAborted()
        let { shape, values }: Changed = await read(model.weights[sources.get(path) ?? path]!)
        for (const change of matrices.get(path) ?? []) ({ shape, values } = change(values, shape) ?? { shape, values })
        changed[path] = denseWeight(tensor(Float32Array.from(values), { shape }))
        onProgress?.({ done: i + 1, total: paths.length, path })
      }
      for (const [name, changes] of vectors) {
        let values: Float64Array = Float64Array.from(await model.vectors[name]!.data() as Float32Array)
        for (const change of changes) values = change(values) ?? values
        changed[name] = tensor(Float32Array.from(values))
      }
      return createModel(config, changed, { ...(tokenizer && { tokenizer }), ...(files && { files }), ...(metadata && { metadata }), ...(stated && { stated }) })
    },
  }
}

async function read(weight: Weight): Promise<{ readonly shape: readonly [number, number]; readonly values: Float64Array }> {
  const dense = weight.dense()
  try {
    return { shape: weight.shape, values: Float64Array.from((await dense.data()) as Float32Array) }
  } finally {
    // Whatever is not a part of the weight was made for this.
    if (!Object.values(weight.parts()).includes(dense)) dense.dispose()
  }
}
