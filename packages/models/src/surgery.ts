import { denseWeight, fail, fromBytes, type Tensor, type TypedArray, type Weight } from "@thimble/core"
import { architectureOf } from "./architecture.ts"
import type { Channels } from "./block-links.ts"
import type { Config } from "./config.ts"
import { createModel, type Model } from "./model.ts"
import { blockShapes, withShapes } from "./shapes.ts"

/** Which channels of a block stay, by their numbers; all unless given. */
export interface KeptChannels {
  /** Heads of keys and values, each with the heads of queries that share it. */
  readonly heads?: readonly number[]
  /** Features between the two halves of the feed-forward part. */
  readonly hidden?: readonly number[]
}
/** Of some blocks, by their numbers. */
export type KeptByLayer = Readonly<Record<number, KeptChannels>>

/**
 * A model with some of its blocks, in the order that is given; one may stand there several times. Its tensors are those of
 * the model that it is made from.
 */
export function keepBlocks(model: Model, layers: readonly number[]): Model {
  const { config, weights, vectors } = model, { blocks } = architectureOf(config)
  const wrong = layers.find((l) => !(Number.isInteger(l) && l >= 0 && l < config.layers))
  if (wrong !== undefined) fail("index", "keepBlocks", `there is no block ${wrong}, the model has ${config.layers}`)
  if (layers.length === 0) fail("value", "keepBlocks", "no blocks are left")
  const all = Object.entries({ ...weights, ...vectors }), made: Record<string, Weight | Tensor> = {}
  for (const [name, value] of all) if (!name.startsWith(`${blocks}.`)) made[name] = value
  layers.forEach((from, to) => {
    const prefix = `${blocks}.${from}.`
    for (const [name, value] of all) if (name.startsWith(prefix)) made[`${blocks}.${to}.${name.slice(prefix.length)}`] = value
  })
  return createModel(configOfBlocks(config, layers), made, optionsOf(model))
}

/** The config of a model with some of the blocks. */
export function configOfBlocks(config: Config, layers: readonly number[]): Config {
  const shapes = blockShapes(config), { windows } = config
  return { ...withShapes(config, layers.map((l) => shapes[l]!)), ...(windows && { windows: layers.map((l) => windows[l]!) }) }
}

/**
 * A smaller model without some channels of its blocks. Elements that stay are the same bits; what is not changed is shared
 * with the model that it is made from. Matrices must be plain ones: codes of several channels share what they are scaled with.
 */
export async function keepChannels(model: Model, kept: KeptByLayer): Promise<Model> {
  const { config, weights, vectors } = model, changed: Record<string, Weight | Tensor> = {}
  for (const { layer, path, rows, columns } of channelCuts(model, kept)) {
    const weight = weights[path]!, [all, width] = weight.shape
    const left = rows === undefined ? undefined : without(all, rows), across = columns === undefined ? undefined : without(width, columns)
    if (typeof weight.storage !== "string") fail("value", "keepChannels", `'${path}' of block ${layer} is stored as ${weight.form}`, "leave out channels first, and quantize what is left")
    const values = weight.parts().values!
    changed[path] = denseWeight(pick(await values.raw(), values, left, across))
    const bias = vectors[`${path}.bias`]
    if (bias !== undefined && left !== undefined) changed[`${path}.bias`] = pick(await bias.raw(), bias, left, undefined)
  }
  return createModel(configOfChannels(config, kept), { ...weights, ...vectors, ...changed }, optionsOf(model))
}

/** The config of a model without some channels. */
export function configOfChannels(config: Config, kept: KeptByLayer): Config {
  return withShapes(config, blockShapes(config).map((s, layer) => {
    const { heads, hidden } = kept[layer] ?? {}, kvHeads = heads?.length ?? s.kvHeads
    return { heads: kvHeads * (s.heads / s.kvHeads), kvHeads, hidden: hidden?.length ?? s.hidden }
  }))
}

/** The same model, of the same shape, in which channels that do not stay are multiplied with zeros: what {@link keepChannels} computes the same as. */
export async function maskChannels(model: Model, kept: KeptByLayer): Promise<Model> {
  const changed: Record<string, Weight> = {}
  for (const { path, columns } of channelCuts(model, kept)) {
    if (columns === undefined) continue
    const weight = model.weights[path]!, [, width] = weight.shape, dense = weight.dense(), values = Float32Array.from((await dense.data()) as Float32Array)
    if (!Object.values(weight.parts()).includes(dense)) dense.dispose()
    for (let at = 0; at < values.length; at += width) for (const c of columns) values[at + c] = 0
    changed[path] = denseWeight(fromBytes(new Uint8Array(values.buffer), weight.shape, "f32", dense.device))
  }
  return model.with(changed)
}

/** What of a matrix goes: rows and columns by their numbers. */
export interface ChannelCut { readonly layer: number; readonly path: string; readonly rows?: ReadonlySet<number>; readonly columns?: ReadonlySet<number> }

/** What goes of each matrix where only some channels stay. */
export function* channelCuts(model: Model, kept: KeptByLayer): Generator<ChannelCut> {
  const blocks = model.blocks(), wrong = Object.keys(kept).find((l) => blocks[Number(l)] === undefined)
  if (wrong !== undefined) fail("index", "keepChannels", `there is no block ${wrong}, the model has ${blocks.length}`)
  for (const { layer, links } of blocks) {
    const own = kept[layer], rows = new Map<string, Set<number>>(), columns = new Map<string, Set<number>>()
    for (const group of links.channels) {
      const staying = own?.[group.name]
      if (staying === undefined) continue
      const stays = new Set(staying)
      if (stays.size !== staying.length || stays.size === 0 || staying.some((c) => !(Number.isInteger(c) && c >= 0 && c < group.count))) fail("index", "keepChannels", `${group.name} of block ${layer} are some of ${group.count}, each once, got [${staying.slice(0, 12).join(", ")}${staying.length > 12 ? ", …" : ""}]`)
      if (stays.size === group.count) continue
      for (const [parts, into, axis] of [[group.rows, rows, 0], [group.columns, columns, 1]] as const)
        for (const part of parts) {
          const known = into.get(part.path) ?? into.set(part.path, new Set()).get(part.path)!
          channelPlaces(part, model.weights[part.path]!.shape[axis]).forEach((place, i) => stays.has(Math.floor(i / part.size)) || known.add(place))
        }
    }
    for (const path of new Set([...rows.keys(), ...columns.keys()])) yield { layer, path, ...(rows.has(path) && { rows: rows.get(path)! }), ...(columns.has(path) && { columns: columns.get(path)! }) }
  }
}

/** Rows (or columns) of a module that a part names, in the order of its channels: `size` of them for each. */
export const channelPlaces = ({ rows }: Channels, all: number): number[] =>
  (rows ?? [[0, all]]).flatMap(([begin, end]) => Array.from({ length: end - begin }, (_, i) => begin + i))

const without = (all: number, gone: ReadonlySet<number>): number[] => Array.from({ length: all }, (_, i) => i).filter((i) => !gone.has(i))

/** Some rows and columns of elements, as they are stored. */
function pick(from: TypedArray, { shape, dtype, device }: Tensor, rows: readonly number[] | undefined, columns: readonly number[] | undefined): Tensor {
  const [all, width = 1] = shape as [number, number?], left = rows?.length ?? all, across = columns?.length ?? width
  const out = new (from.constructor as new (length: number) => TypedArray)(left * across)
  for (let r = 0; r < left; r++) {
    const at = (rows?.[r] ?? r) * width, to = r * across
    if (columns === undefined) out.set(from.subarray(at, at + width) as never, to)
    else for (let c = 0; c < across; c++) out[to + c] = from[at + columns[c]!]!
  }
  return fromBytes(new Uint8Array(out.buffer, out.byteOffset, out.byteLength), shape.length === 1 ? [left] : [left, across], dtype, device)
}

/** What goes with a model that is made from another. */
function optionsOf({ tokenizer, files, metadata, stated }: Model): Parameters<typeof createModel>[2] {
  return { ...(tokenizer && { tokenizer }), ...(files && { files }), ...(metadata && { metadata }), ...(stated && { stated }) }
}
