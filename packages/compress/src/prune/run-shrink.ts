import { denseWeight, type Tensor, type Weight } from "@thimble/core"
import { channelCuts, channelPlaces, keepChannels, type Block, type KeptChannels, type Model } from "@thimble/models"
import { like } from "../recipe/balance.ts"
import type { Kept, Work } from "../recipe/checkpoint.ts"
import { errorsOf } from "../recipe/errors.ts"
import { matrixOf, onDevice, weightOf, type Matrix, type Statistics } from "../recipe/method.ts"
import type { JobEvent, PlanEntry, ReportEntry, RunContext } from "../recipe/stage.ts"
import { gram, type Statistic } from "../recipe/statistic.ts"
import { observe, streamOf, type Stream } from "../recipe/stream.ts"
import { channelGradients, type ChannelGradients } from "./channel-gradients.ts"
import { bestChannels, channelScores, scoreObserves, type ChannelGroup, type ChannelScore, type Combine } from "./channel-scores.ts"
import { reconstructColumns } from "./reconstruct.ts"
import type { Staying } from "./shrink.ts"

export interface ShrinkWork {
  /** By block. */
  readonly stays: readonly Staying[]
  readonly score: ChannelScore
  readonly combine: Combine
  readonly reconstruct: boolean
  readonly entries: ReadonlyMap<string, PlanEntry>
}

/** Leaves out channels, block after block, each fed by what comes before it as it is by then. */
export async function* runShrink(start: Model, work: ShrinkWork, { data, signal, checkpoint }: RunContext): AsyncGenerator<JobEvent, Model> {
  const { stays, score, reconstruct, entries: plans } = work, looks = scoreObserves[score], total = plans.size
  const streamed = total > 0 && (reconstruct || typeof looks === "object")
  let model = start, done = 0, gradients: Awaited<ReturnType<typeof channelGradients>> | undefined
  let stream: Stream | undefined = streamed ? await streamOf(model, data!, signal) : undefined
  /** Goes on with another model; tensors that were made on the way and are in neither are released. */
  const goOn = (next: Model): void => {
    const held = new Set([...Object.values(next.parts()), ...Object.values(start.parts())])
    for (const t of Object.values(model.parts())) if (!held.has(t)) t.dispose()
    model = next
  }
  try {
    for (const { path: name, layer } of start.blocks()) {
      signal?.throwIfAborted()
      const block = (): Block => model.blocks()[layer]!
      const smaller = block().links.channels.filter((g) => stays[layer]![g.name] < g.count)
      if (smaller.length > 0) {
        const kept = await checkpoint?.load(name)
        if (kept !== undefined) {
          const chosen = Object.fromEntries(Object.entries(kept.vectors).map(([group, numbers]) => [group, [...numbers]])) as KeptChannels
          goOn(await keepChannels(model, { [layer]: chosen }))
          goOn(model.with(Object.fromEntries(Object.entries(kept.matrices).map(([path, { format, parts }]) => [path, weightOf({ format: format as "f32", parts }, model.weights[path]!.shape)]))))
          for (const entry of kept.entries) yield { kind: "matrix", stage: 0, done: ++done, total, entry, resumed: true }
        } else {
          const begun = performance.now(), chosen: Record<string, number[]> = {}, fitted: Record<string, Kept> = {}, lost = new Map<string, Pick<ReportEntry, "weightError" | "outputError">>()
          if (looks === "gradients") gradients ??= await channelGradients(start, data!, signal)
          for (const { name: part } of smaller) {
            const group = block().links.channels.find((g) => g.name === part)!, wanted = wantedOf(group, looks, reconstruct)
            const seen = wanted.size > 0 ? await observe(stream!, (x, see) => block().forward(x, { observe: see }), wanted, { ...(signal && { signal }) }) : undefined
            if (seen !== undefined) yield { kind: "calibrated", stage: 0, part: `${name}: ${part}`, done: stream!.batches.length, total: stream!.batches.length }
            try {
              const own = new Map<string, Matrix>()
              for (const { path } of [...group.rows, ...group.columns]) if (!own.has(path)) own.set(path, await matrixOf(path, model.weights[path]!))
              const scores = await scored(group, own, seen && ((path) => seen.of(path)), gradients?.get(layer), work)
              chosen[part] = bestChannels(scores, stays[layer]![group.name])
              const fit = reconstruct ? await fittedColumns(group, own, chosen[part]!, (path) => seen!.of(path)) : new Map<string, Float32Array>()
              for (const cut of channelCuts(model, { [layer]: { [group.name]: chosen[part] } })) lost.set(cut.path, joined(lost.get(cut.path), await lossOf(own.get(cut.path)!, cut, fit.get(cut.path), seen && wanted.has(cut.path) ? seen.of(cut.path) : undefined)))
              goOn(await keepChannels(model, { [layer]: { [group.name]: chosen[part] } }))
              const changed: Record<string, Weight> = {}
              for (const [path, values] of fit) changed[path] = await like(model.weights[path]!, { path, values, shape: model.weights[path]!.shape })
              if (fit.size > 0) goOn(model.with(changed))
              for (const path of fit.keys()) fitted[path] = await keptOf(model.weights[path]!)
            } finally {
              seen?.dispose()
            }
          }
          const made: ReportEntry[] = [...lost].map(([path, errors]) => ({ ...plans.get(path)!, bytesAfter: model.weights[path]!.bytes, ...errors, tokens: looks === undefined && !reconstruct ? 0 : data!.tokens, fallbacks: [], seconds: (performance.now() - begun) / 1000 / lost.size }))
          for (const entry of made) yield { kind: "matrix", stage: 0, done: ++done, total, entry, resumed: false }
          await checkpoint?.save(name, { matrices: fitted, vectors: Object.fromEntries(Object.entries(chosen).map(([group, numbers]) => [group, Float32Array.from(numbers)])), entries: made } satisfies Work)
        }
      }
      if (stream !== undefined) stream = await stream.through((x) => block().forward(x), signal)
    }
    return model
  } finally {
    stream?.dispose()
  }
}

/** What is to be observed of the inputs of which matrices. */
function wantedOf(group: ChannelGroup, looks: (typeof scoreObserves)[ChannelScore], reconstruct: boolean): Map<string, Statistic[]> {
  const wanted = new Map<string, Statistic[]>()
  const ask = (path: string, s: Statistic): void => void (wanted.get(path)?.includes(s) || wanted.set(path, [...(wanted.get(path) ?? []), s]))
  if (typeof looks === "object") for (const { path } of looks.of === "all" ? [...group.rows, ...group.columns] : group.columns) ask(path, looks.statistic)
  if (reconstruct) for (const { path } of group.columns) ask(path, gram)
  return wanted
}

async function scored(group: ChannelGroup, matrices: ReadonlyMap<string, Matrix>, statistics: ((path: string) => Statistics) | undefined, gradients: ReadonlyMap<string, ChannelGradients> | undefined, { score, combine }: ShrinkWork): Promise<Float64Array> {
  if (score === "taylor" || score === "fisher") return gradients!.get(group.name)![score]
  return channelScores(score, group, { matrix: (path) => matrices.get(path)!, statistics: (path) => statistics!(path) }, combine)
}

async function fittedColumns(group: ChannelGroup, matrices: ReadonlyMap<string, Matrix>, chosen: readonly number[], statistics: (path: string) => Statistics): Promise<Map<string, Float32Array>> {
  const fit = new Map<string, Float32Array>(), stays = new Set(chosen)
  for (const part of group.columns) {
    const { values, shape } = matrices.get(part.path)!, kept = channelPlaces(part, shape[1]).filter((_, i) => stays.has(Math.floor(i / part.size)))
    fit.set(part.path, Float32Array.from(reconstructColumns(values, shape, (await statistics(part.path).of(gram).data()) as Float32Array, kept)))
  }
  return fit
}

/** What is lost of a matrix: it as it is without what goes, beside it as it was. */
async function lossOf(matrix: Matrix, { rows, columns }: { readonly rows?: ReadonlySet<number>; readonly columns?: ReadonlySet<number> }, fit: Float32Array | undefined, statistics: Statistics | undefined): Promise<Pick<ReportEntry, "weightError" | "outputError">> {
  const [all, width] = matrix.shape, values = new Float32Array(all * width)
  for (let r = 0, i = 0; r < all; r++) for (let c = 0; c < width; c++) if (rows?.has(r) !== true && columns?.has(c) !== true) values[r * width + c] = fit === undefined ? matrix.values[r * width + c]! : fit[i++]!
  const left: Tensor = onDevice(values, matrix.shape)
  try {
    // Outputs that rows no longer give are missed by nobody.
    return await errorsOf(matrix, denseWeight(left), rows === undefined ? statistics : undefined)
  } finally {
    left.dispose()
  }
}
/** A matrix that two groups take from: shares that stay multiply. */
const joined = (a: Pick<ReportEntry, "weightError" | "outputError"> | undefined, b: Pick<ReportEntry, "weightError" | "outputError">): Pick<ReportEntry, "weightError" | "outputError"> =>
  a === undefined ? b : { ...a, ...b, weightError: 1 - (1 - a.weightError) * (1 - b.weightError) }

async function keptOf(weight: Weight): Promise<Kept> {
  const t = weight.parts().values!
  return { format: weight.storage as string, parts: { values: { data: await t.raw(), shape: t.shape, dtype: t.dtype } } }
}
