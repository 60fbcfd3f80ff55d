import { all, compile, fail, isFinite as finite, mean, reshape, tensor, zeros, type Tensor } from "@thimble/core"
import type { Model, Observe } from "@thimble/models"
import type { Calibration } from "./calibration.ts"
import type { Statistics } from "./method.ts"
import { joined, type Statistic } from "./statistic.ts"

/** More positions at a time make little faster, and what is computed on the way takes more memory. */
const positions = 512

/** The residual stream of all calibration sequences, at one place of the model, in batches [batch, length, width]. */
export interface Stream {
  readonly batches: readonly Tensor[]
  readonly tokens: number
  /** Goes on through a block, or whatever gives a tensor for a tensor; the batches before are released. */
  through(forward: (x: Tensor) => Tensor, signal?: AbortSignal): Promise<Stream>
  dispose(): void
}

/** Ids of all calibration sequences, in batches [batch, length]. */
export function idsOf(model: Model, data: Calibration): Tensor[] {
  const { context, vocabulary } = model.config
  if (data.length > context) fail("value", "run", `calibration sequences have ${data.length} tokens, the model sees ${context}`, "cut shorter ones")
  for (const [i, s] of data.sequences.entries()) for (const id of s) if (!(id >= 0 && id < vocabulary)) fail("index", "run", `token ${id} of calibration sequence ${i} is outside the vocabulary of ${vocabulary}`, "is it another model's tokenizer?")
  const each = Math.max(1, Math.floor(positions / data.length)), ids: Tensor[] = []
  for (let i = 0; i < data.sequences.length; i += each) {
    const own = data.sequences.slice(i, i + each), flat = new Int32Array(own.length * data.length)
    own.forEach((s, j) => flat.set(s, j * data.length))
    ids.push(tensor(flat, { shape: [own.length, data.length], dtype: "i32" }))
  }
  return ids
}

/** The stream before the first block. */
export const streamOf = async (model: Model, data: Calibration, signal?: AbortSignal): Promise<Stream> => through(idsOf(model, data), (x) => model.embed(x), data.tokens, signal)

async function through(before: readonly Tensor[], forward: (x: Tensor) => Tensor, tokens: number, signal?: AbortSignal): Promise<Stream> {
  const step = compile((x: Tensor) => forward(x)), batches: Tensor[] = []
  const release = (): void => batches.forEach((x) => x.dispose())
  try {
    for (const x of before) {
      signal?.throwIfAborted()
      batches.push(await step(x))
      x.dispose()
    }
  } catch (e) {
    release()
    for (const x of before) x.dispose()
    throw e
  } finally {
    step.dispose()
  }
  return { batches, tokens, through: (next, s) => through(batches, next, tokens, s), dispose: release }
}

/** What observers of matrices kept; released by hand. */
export interface Observed {
  of(path: string): Statistics
  dispose(): void
}

/** A part of a model as it is calibrated: `observe` sees what goes into its matrices. */
export type Watched = (x: Tensor, observe: Observe) => unknown

export interface ObserveOptions {
  readonly signal?: AbortSignal
  readonly onBatch?: (done: number, total: number) => void
}

/** Matrices of a part of a model in the order in which they are used, those that read the same input side by side. */
export function inputGroups(stream: Stream, part: Watched): string[][] {
  const groups = new Map<Tensor, string[]>()
  part(stream.batches[0]!, (path, x) => {
    const known = groups.get(x)
    if (known === undefined) groups.set(x, [path])
    else if (!known.includes(path)) known.push(path)
  })
  return [...groups.values()]
}

/** Runs all of a stream through a part of a model and keeps what the observers of its matrices ask for. */
export async function observe(stream: Stream, part: Watched, wanted: ReadonlyMap<string, readonly Statistic[]>, { signal, onBatch }: ObserveOptions = {}): Promise<Observed> {
  const inputs = (x: Tensor): Map<string, Tensor> => {
    const seen = new Map<string, Tensor>(), flat = new Map<Tensor, Tensor>()
    part(x, (path, input) => {
      if (!wanted.has(path)) return
      if (!flat.has(input)) flat.set(input, reshape(input, [-1, input.shape.at(-1)!]))
      seen.set(path, flat.get(input)!)
    })
    return seen
  }
  // Matrices that read the same input share what is kept of it: each observation is made once.
  const slots: { readonly observer: Statistic; readonly path: string; readonly shape: readonly number[] }[] = [], slotOf = new Map<string, number>(), byInput = new Map<Tensor, Map<string, number>>()
  for (const [path, x] of inputs(stream.batches[0]!)) {
    const known = byInput.get(x) ?? byInput.set(x, new Map()).get(x)!
    for (const observer of wanted.get(path)!) {
      if (!known.has(observer.name)) known.set(observer.name, slots.push({ observer, path, shape: observer.take(x, stream.tokens).shape }) - 1)
      slotOf.set(`${path} ${observer.name}`, known.get(observer.name)!)
    }
  }
  const missing = [...wanted.keys()].filter((path) => wanted.get(path)!.length > 0 && !slotOf.has(`${path} ${wanted.get(path)![0]!.name}`))
  if (missing.length > 0) fail("value", "run", `nothing goes into ${missing.join(", ")} where the model was watched`)
  const steady = slots.filter((s) => s.observer.combine !== "append")
  const step = compile((x: Tensor, kept: readonly Tensor[]) => {
    const seen = inputs(x), taken = (s: (typeof slots)[number]): Tensor => s.observer.take(seen.get(s.path)!, stream.tokens)
    return {
      kept: steady.map((s, i) => joined[s.observer.combine as "add"](kept[i]!, taken(s))),
      pieces: slots.filter((s) => s.observer.combine === "append").map(taken),
      // The mean is finite if and only if what it is made of is, but for overflow, which is an error, too.
      whole: [...distinct(seen).keys()].map((t) => all(finite(mean(t)))),
    }
  }, { donate: [1] })
  let kept: Tensor[] = steady.map(({ shape }) => zeros(shape))
  const appended: Tensor[][] = slots.filter((s) => s.observer.combine === "append").map(() => [])
  const release = (): void => [...kept, ...appended.flat()].forEach((t) => t.dispose())
  let sequence = 0
  try {
    for (const [i, x] of stream.batches.entries()) {
      signal?.throwIfAborted()
      const made = await step(x, kept)
      kept = made.kept as Tensor[]
      made.pieces.forEach((t, j) => appended[j]!.push(t))
      const whole = await Promise.all(made.whole.map(async (w) => (await w.data())[0]))
      made.whole.forEach((w) => w.dispose())
      for (const [j, good] of whole.entries()) {
        if (!good) fail("numeric", "run", `what goes into ${[...distinct(inputs(x)).values()][j]} is not finite in calibration sequences ${sequence} to ${sequence + x.shape[0]! - 1}`, "look at the model's weights, and at what it computes there")
      }
      sequence += x.shape[0]!
      onBatch?.(i + 1, stream.batches.length)
    }
    const whole = await Promise.all(appended.map(async (pieces) => (pieces.length === 1 ? pieces[0]! : joinRows(pieces))))
    appended.forEach((pieces, i) => {
      if (pieces.length > 1) pieces.forEach((t) => t.dispose())
      appended[i] = [whole[i]!]
    })
  } catch (e) {
    release()
    throw e
  } finally {
    step.dispose()
  }
  let a = 0, b = 0
  const values = slots.map((s) => (s.observer.combine === "append" ? appended[a++]![0]! : kept[b++]!))
  return {
    of(path) {
      const known = (observer: Statistic): Tensor | undefined => values[slotOf.get(`${path} ${observer.name}`) ?? -1]
      return { tokens: stream.tokens, known, of: (observer) => known(observer) ?? fail("internal", "run", `${observer.name} of ${path} was not observed`) }
    },
    dispose: release,
  }
}

/** Inputs that were seen, each with one of the matrices that read it. */
const distinct = (seen: ReadonlyMap<string, Tensor>): Map<Tensor, string> => new Map([...seen].map(([path, t]) => [t, path]))

async function joinRows(pieces: readonly Tensor[]): Promise<Tensor> {
  const columns = pieces[0]!.shape[1]!, rows = pieces.reduce((n, t) => n + t.shape[0]!, 0), out = new Float32Array(rows * columns)
  let at = 0
  for (const t of pieces) {
    out.set((await t.data()) as Float32Array, at)
    at += t.size
  }
  return tensor(out, { shape: [rows, columns] })
}
