import { fail, showShape } from "@thimble/core"
import { expectedTensors, ggufNames, type Config } from "@thimble/models"
import { meanSquares, type Imatrix, type ImatrixEntry } from "@thimble/formats"

/** Sums over the inputs of a matrix, column by column, in float64. */
export interface ColumnStatistics {
  /** Adds a batch [tokens, columns], of any number of tokens; padding is left out by the caller. */
  add(inputs: Float32Array | Float64Array, tokens: number): void
  /** E[x] and E[x²] of each column; 0 before the first token. */
  means(): Float64Array
  meanSquares(): Float64Array
  /** The same as a file has it. */
  entry(): ImatrixEntry
  readonly tokens: number
}

/** What an importance matrix is made of, and bias correction asks for: neither the order of tokens nor how batches are cut matters, but for rounding. */
export function columnStatistics(columns: number): ColumnStatistics {
  const sums = new Float64Array(columns), squares = new Float64Array(columns)
  let seen = 0
  const mean = (of: Float64Array): Float64Array => of.map((v) => (seen === 0 ? 0 : v / seen))
  return {
    add(inputs, tokens) {
      if (inputs.length !== tokens * columns) fail("shape", "columnStatistics", `${inputs.length} values for ${showShape([tokens, columns])}`)
      const wrong = inputs.findIndex((v) => !Number.isFinite(v))
      if (wrong >= 0) fail("numeric", "columnStatistics", `input ${wrong % columns} of token ${Math.floor(wrong / columns)} is ${inputs[wrong]}`, "a calibration batch that overflowed says nothing about the others")
      for (let t = 0, i = 0; t < tokens; t++)
        for (let c = 0; c < columns; c++, i++) {
          sums[c]! += inputs[i]!
          squares[c]! += inputs[i]! ** 2
        }
      seen += tokens
    },
    means: () => mean(sums),
    meanSquares: () => mean(squares),
    entry: () => ({ squares: Float32Array.from(squares), sums: Float32Array.from(sums), counts: [seen] }),
    get tokens() { return seen },
  }
}

/** Statistics by the names of a model's matrices (`model.layers.0.mlp.up_proj`) as an importance matrix, which has them by their names in GGUF files. */
export function imatrixOf(config: Config, statistics: ReadonlyMap<string, Pick<ColumnStatistics, "entry">>, about: Pick<Imatrix, "datasets" | "chunks" | "chunkSize">): Imatrix {
  const names = ggufNames(config)
  return {
    ...about,
    entries: new Map([...statistics].map(([path, s]) => [names.get(`${path}.weight`) ?? fail("value", "imatrixOf", `${config.architecture} has no matrix '${path}'`), s.entry()])),
  }
}

/**
 * Importances of columns by the names of a model's matrices, as encoders take them. Matrices that the file does not have
 * are left out: usually the embedding and the head.
 */
export function importancesOf(config: Config, { entries }: Imatrix): ReadonlyMap<string, Float32Array> {
  const names = ggufNames(config), out = new Map<string, Float32Array>()
  for (const { name, path, kind, shape } of expectedTensors(config)) {
    const entry = kind === "matrix" ? entries.get(names.get(name)!) : undefined
    if (entry === undefined) continue
    if (entry.squares.length !== shape[1]) fail("shape", "importancesOf", `'${names.get(name)!}' has ${entry.squares.length} importances, but '${path}' ${shape[1]} columns`, "is it of another model?")
    out.set(path, meanSquares(entry))
  }
  return out
}
