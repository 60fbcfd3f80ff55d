import { denseWeight, fail, realize, type Tensor, type Weight } from "@thimble/core"
import { architectureOf, type Block, type Model } from "@thimble/models"
import { matrixOf, onDevice, type Balance, type Matrix, type Method, type Statistics } from "./method.ts"

type Fold = Block["links"]["fold"][number]

/** Where a method asks for factors: a link of a block all of whose readers ask for the same ones. */
export interface Balanced { readonly fold: Fold; readonly balance: Balance; readonly paths: readonly string[] }

export function balancedFolds(block: Block, methods: ReadonlyMap<string, Method>): Balanced[] {
  return block.links.fold.flatMap((fold): Balanced[] => {
    const paths = fold.into.map((p) => p.path), balances = paths.map((p) => methods.get(p)?.balance)
    return balances[0] !== undefined && balances.every((b) => b === balances[0]) ? [{ fold, balance: balances[0], paths }] : []
  })
}

/** What changes in a model when factors are moved over a link: weights by module, vectors by full name. */
export async function moveScales(model: Model, { fold, paths }: Balanced, found: Float64Array): Promise<Record<string, Weight | Tensor>> {
  const { from, repeat } = fold, changed: Record<string, Weight | Tensor> = {}, scales = repeat === undefined ? found : shared(found, repeat)
  const of = (channel: number): number => scales[channel]!
  for (const path of paths) {
    const m = await matrixOf(path, model.weights[path]!), columns = m.shape[1], own = repeat === undefined ? scales : spread(scales, repeat)
    if (own.length !== columns) fail("internal", "balance", `${own.length} factors for ${columns} columns of ${path}`)
    changed[path] = await like(model.weights[path]!, { ...m, values: m.values.map((v, i) => v * own[i % columns]!) })
  }
  const source = model.weights[from.path], vector = (name: string, divide: (v: number, i: number) => number): Promise<void> | undefined => {
    const t = model.vectors[name]
    return t && t.data().then((data) => void (changed[name] = onDevice(Float32Array.from(data as Float32Array, divide), t.shape)))
  }
  if (source === undefined) {
    const onePlus = architectureOf(model.config).onePlus === true
    await vector(`${from.path}.weight`, (v, i) => (onePlus ? (1 + v) / of(i) - 1 : v / of(i)))
    await vector(`${from.path}.bias`, (v, i) => v / of(i))
    return changed
  }
  // Rows of the source, in the order of its channels.
  const channelOf = new Map<number, number>()
  for (const [begin, end] of from.rows ?? [[0, source.shape[0]]]) for (let r = begin; r < end; r++) channelOf.set(r, channelOf.size)
  const divided = (v: number, row: number): number => (channelOf.has(row) ? v / of(channelOf.get(row)!) : v)
  const m = await matrixOf(from.path, source)
  changed[from.path] = await like(source, { ...m, values: m.values.map((v, i) => divided(v, Math.floor(i / m.shape[1]))) })
  await vector(`${from.path}.bias`, divided)
  return changed
}

/** Channels that several columns read have one factor: the geometric mean of what these would have. */
function shared(found: Float64Array, { size, times }: { readonly size: number; readonly times: number }): Float64Array {
  const out = new Float64Array(found.length / times)
  found.forEach((s, column) => (out[channelOf(column, size, times)]! += Math.log(s) / times))
  return out.map(Math.exp)
}
const channelOf = (column: number, size: number, times: number): number => Math.floor(column / (size * times)) * size + (column % size)
const spread = (scales: Float64Array, { size, times }: { readonly size: number; readonly times: number }): Float64Array =>
  Float64Array.from({ length: scales.length * times }, (_, column) => scales[channelOf(column, size, times)]!)

/** Plain elements, in the type that they were in. */
export async function like(weight: Weight, { values, shape }: Matrix): Promise<Weight> {
  const made = onDevice(values, shape), type = weight.storage
  if (typeof type !== "string" || type === "f32") return denseWeight(made)
  const narrow = made.cast(type)
  await realize(narrow)
  made.dispose()
  return denseWeight(narrow)
}

/** Factors of a link, refused where they would break what they are moved over. */
export async function scalesOf({ balance, paths }: Balanced, model: Model, statistics: Statistics): Promise<Float64Array> {
  const matrices: Matrix[] = []
  for (const path of paths) matrices.push(await matrixOf(path, model.weights[path]!))
  const scales = await balance.scales(matrices, statistics), wrong = scales.findIndex((s) => !(Number.isFinite(s) && s > 0))
  if (wrong >= 0) fail("numeric", "balance", `the factor of column ${wrong} of ${paths.join(", ")} is ${scales[wrong]}`, "look at the calibration data")
  return scales
}
