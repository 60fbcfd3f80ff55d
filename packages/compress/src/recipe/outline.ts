import type { Weight } from "@thimble/core"
import { architectureOf, expectedTensors, type Config, type Model } from "@thimble/models"
import type { Outline, OutlinedMatrix } from "./stage.ts"

const formatName = ({ storage, form }: Weight): string => (storage === undefined ? form : typeof storage === "string" ? storage : storage.name)

/** What a plan has to know of a model. */
export function outlineOf(model: Model): Outline {
  const layerOf = new Map<string, number>()
  for (const { layer, linears } of model.blocks()) for (const path of linears) layerOf.set(path, layer)
  const { embedding, positions, segments } = architectureOf(model.config).names, matrices = new Map<string, OutlinedMatrix>()
  const lookedUp = new Set([positions, segments, model.config.tied ? undefined : embedding])
  for (const [path, weight] of Object.entries(model.weights)) {
    const layer = layerOf.get(path)
    matrices.set(path, { shape: weight.shape, bytes: weight.bytes, format: formatName(weight), ...(layer !== undefined && { layer }), ...(lookedUp.has(path) && { lookedUp: true }) })
  }
  return { config: model.config, matrices, vectorBytes: Object.values(model.vectors).reduce((n, t) => n + t.bytes, 0) }
}

/** Elements of all matrices and vectors of a model of a config. */
export const parametersOf = (config: Config): number => sizeOf(config, () => true)
const sizeOf = (config: Config, which: (kind: string) => boolean): number => expectedTensors(config).reduce((n, t) => (which(t.kind) ? n + t.shape.reduce((a, b) => a * b, 1) : n), 0)

/** The outline of a model of another shape: its matrices are given, its vectors take as many bytes by element as before. */
export function reshaped(outline: Outline, config: Config, matrices: Outline["matrices"]): Outline {
  const vectors = (c: Config): number => sizeOf(c, (kind) => kind !== "matrix"), before = vectors(outline.config)
  return { config, matrices, vectorBytes: before === 0 ? 0 : (outline.vectorBytes / before) * vectors(config) }
}

export const outlineBytes = ({ matrices, vectorBytes }: Outline): number => [...matrices.values()].reduce((n, m) => n + m.bytes, vectorBytes)
export const outlineSize = ({ matrices }: Outline): number => [...matrices.values()].reduce((n, { shape }) => n + shape[0] * shape[1], 0)
