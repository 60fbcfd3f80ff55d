import { Tensor, type Weight } from "@thimble/core"
import { isLazy, type Block, type Model } from "@thimble/models"
import { balancedFolds, moveScales, scalesOf } from "./balance.ts"
import { errorsOf } from "./errors.ts"
import { matrixOf, onDevice, weightOf, type Method, type Stored, type Statistics } from "./method.ts"
import type { Statistic } from "./statistic.ts"
import { release } from "./release.ts"
import type { JobEvent, PlanEntry, ReportEntry, RunContext } from "./stage.ts"
import { inputGroups, observe, streamOf, type Observed, type Stream, type Watched } from "./stream.ts"
import { restored, workOf } from "./work.ts"

/** What is to be done. */
export interface MatrixWork {
  /** What is done with which matrices, by path. */
  readonly methods: ReadonlyMap<string, Method>
  readonly entries: ReadonlyMap<string, PlanEntry>
  readonly sequence: "matrices" | "blocks"
  /** Whether calibration data is looked at. */
  readonly calibrated: boolean
}

/** Treats matrices one by one, block after block, each calibrated with what comes before it as it is by then. */
export async function* runMatrices(start: Model, { methods: asked, entries: plans, sequence, calibrated }: MatrixWork, { data, signal, checkpoint }: RunContext): AsyncGenerator<JobEvent, Model> {
  const methods = await surveyed(start, asked, data, signal)
  const total = methods.size
  let model = start, done = 0
  /** Tensors that were made on the way and are no part of the result. */
  const replace = (changed: Record<string, Weight | Tensor>): void => {
    const before = model
    model = model.with(changed)
    for (const name of Object.keys(changed)) {
      const old = before.weights[name], vector = before.vectors[name]
      if (old !== undefined && old !== start.weights[name]) for (const t of Object.values(old.parts())) if (!used(start, t)) t.dispose()
      if (vector !== undefined && vector !== start.vectors[name]) vector.dispose()
    }
  }
  /** Brings matrices that are still in their file to memory, or what was brought and stays as it is back to the file. */
  const bring = async (paths: Iterable<string>): Promise<void> => void (model = await model.loaded(paths))
  const leave = (paths: Iterable<string>): void => replace(Object.fromEntries([...paths].filter((p) => isLazy(start.weights[p]!) && !methods.has(p) && !isLazy(model.weights[p]!)).map((p) => [p, start.weights[p]!])))
  let finished = false
  const blocks = model.blocks(), inBlocks = new Set(blocks.flatMap((b) => b.linears)), outer = Object.keys(model.weights).filter((p) => !inBlocks.has(p))
  let stream: Stream | undefined
  if (calibrated) {
    await bring(outer)
    stream = await streamOf(model, data!, signal)
    leave(outer.filter((p) => !methods.has(p)))
  }
  /** One part of the model: a block, or what is beside them. */
  async function* part(name: string, paths: readonly string[], watched: () => Watched, block?: () => Block): AsyncGenerator<JobEvent> {
    const own = paths.filter((p) => methods.has(p))
    if (own.length === 0) return
    const kept = await checkpoint?.load(name)
    if (kept !== undefined) {
      replace(restored(kept, model, methods))
      for (const entry of kept.entries) yield { kind: "matrix", stage: 0, done: ++done, total, entry, resumed: true }
      return
    }
    const entries: ReportEntry[] = [], stored: Record<string, Stored> = {}, vectors = new Map<string, Float32Array>(), moved = new Set<string>()
    const gather = (of: ReadonlyMap<string, readonly Statistic[]>): Promise<Observed> => observe(stream!, watched(), of, { ...(signal && { signal }) })
    const balanced = block === undefined || stream === undefined ? [] : balancedFolds(block(), methods), taken = new Set(balanced.flatMap((b) => b.paths))
    if (block !== undefined && stream !== undefined) {
      if (balanced.length > 0) {
        const seen = await gather(new Map(balanced.flatMap(({ paths: into, balance }) => into.map((p) => [p, balance.observes] as const))))
        yield { kind: "calibrated", stage: 0, part: `${name}: factors`, done: stream.batches.length, total: stream.batches.length }
        try {
          // All are found before any is moved: what was seen is of the model as it was.
          const found = []
          for (const b of balanced) found.push(await scalesOf(b, model, seen.of(b.paths[0]!)))
          for (const [i, b] of balanced.entries()) {
            const changed = await moveScales(model, b, found[i]!)
            for (const [key, v] of Object.entries(changed)) {
              if (v instanceof Tensor) vectors.set(key, Float32Array.from((await v.data()) as Float32Array))
              else moved.add(key)
            }
            replace(changed)
          }
        } finally {
          seen.dispose()
        }
      }
    }
    const groups = stream === undefined ? [own] : orderedGroups(inputGroups(stream, watched()), own, sequence)
    for (const group of groups) {
      signal?.throwIfAborted()
      const asked = new Map(group.map((p) => [p, methods.get(p)!.observes ?? []] as const).filter(([, observers]) => observers.length > 0))
      const seen = asked.size > 0 ? await gather(asked) : undefined
      if (seen !== undefined) yield { kind: "calibrated", stage: 0, part: group.join(", "), done: stream!.batches.length, total: stream!.batches.length }
      try {
        for (const path of group) {
          signal?.throwIfAborted()
          const begun = performance.now(), method = methods.get(path)!, statistics: Statistics | undefined = asked.has(path) ? seen!.of(path) : undefined
          const matrix = await matrixOf(path, model.weights[path]!), rounded = await method.round(matrix, statistics, { ...(signal && { signal }) })
          if (rounded === undefined) continue
          const weight = weightOf(rounded.stored, matrix.shape), changed: Record<string, Weight | Tensor> = { [path]: weight }
          stored[path] = rounded.stored
          const bias = model.vectors[`${path}.bias`]
          if (rounded.bias !== undefined && bias !== undefined) {
            const values = Float32Array.from((await bias.data()) as Float32Array, (v, i) => v + rounded.bias![i]!)
            vectors.set(`${path}.bias`, values)
            changed[`${path}.bias`] = onDevice(values, bias.shape)
          }
          const errors = await errorsOf(matrix, weight, statistics)
          replace(changed)
          const entry: ReportEntry = { ...plans.get(path)!, bytesAfter: weight.bytes, ...errors, ...(rounded.zeros !== undefined && { zeros: rounded.zeros }), tokens: statistics?.tokens ?? 0, fallbacks: [...(method.balance !== undefined && !taken.has(path) ? [{ kind: "no factors" as const, asked: method.balance.name }] : []), ...(rounded.fallbacks ?? []), ...(rounded.bias !== undefined && bias === undefined ? [{ kind: "no bias" as const, largest: rounded.bias.reduce((m, v) => Math.max(m, Math.abs(v)), 0) }] : [])], seconds: (performance.now() - begun) / 1000 }
          entries.push(entry)
          yield { kind: "matrix", stage: 0, done: ++done, total, entry, resumed: false }
        }
      } finally {
        seen?.dispose()
      }
    }
    await checkpoint?.save(name, await workOf(model, moved, stored, vectors, entries))
  }
  try {
    const outside = [...methods.keys()].filter((p) => !inBlocks.has(p))
    for (const [i, { path, linears }] of blocks.entries()) {
      const block = (): Block => model.blocks()[i]!
      if (stream !== undefined) await bring(linears)
      yield* part(path, linears, () => (x, see) => block().forward(x, { observe: see }), block)
      if (stream !== undefined) {
        stream = await stream.through((x) => block().forward(x), signal)
        leave(linears)
      }
    }
    if (stream !== undefined) await bring(outer)
    // A head is calibrated with what blocks give; embeddings read ids.
    yield* part("outside", outside, () => (x, see) => model.head(x, { observe: see }))
    await bring(Object.keys(model.weights))
    finished = true
    return model
  } finally {
    stream?.dispose()
    // Whoever stops it, or wherever it fails: what is done lies in the checkpoint, if anywhere.
    if (!finished) release(model, start)
  }
}

/** Methods that have looked at what they have to know. Who looks at the whole model at once has all of it in memory meanwhile. */
async function surveyed(start: Model, methods: ReadonlyMap<string, Method>, data: RunContext["data"], signal: AbortSignal | undefined): Promise<ReadonlyMap<string, Method>> {
  const own = [...new Set(methods.values())]
  if (own.every((m) => m.survey === undefined)) return methods
  const known = new Map<Method, Method>(), model = await start.loaded()
  try {
    for (const method of own) {
      const paths = [...methods].filter(([, m]) => m === method).map(([path]) => path)
      known.set(method, method.survey === undefined ? method : await method.survey.look({ model, paths, ...(data && { data }), ...(signal && { signal }) }))
    }
  } finally {
    for (const [path, weight] of Object.entries(start.weights)) if (isLazy(weight)) for (const t of Object.values(model.weights[path]!.parts())) t.dispose()
  }
  return new Map([...methods].map(([path, m]) => [path, known.get(m)!]))
}

const used = (model: Model, t: Tensor): boolean => Object.values(model.weights).some((w) => Object.values(w.parts()).includes(t))

/** Matrices that read the same input are rounded together, in the order in which the model uses them; or all of a block at once. */
function orderedGroups(groups: readonly (readonly string[])[], own: readonly string[], sequence: "matrices" | "blocks"): string[][] {
  const known = groups.map((g) => g.filter((p) => own.includes(p))).filter((g) => g.length > 0), left = own.filter((p) => !known.flat().includes(p))
  const all = left.length > 0 ? [...known, left] : known
  return sequence === "matrices" ? all : [all.flat()]
}

