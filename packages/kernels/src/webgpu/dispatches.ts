// What a run of calls is sent to the queue as: one dispatch for each pass of a kernel, or, in a program that runs again and
// again, one for several passes that do not depend on each other. Starting a dispatch takes an adapter some microseconds.
import { sizeOf, type Call, type Executable, type Kernel } from "@thimble/core"
import { mergedPass, shareOut } from "../wgsl/merged.ts"
import type { Emitted, EmittedPass } from "../wgsl/emitted.ts"
import type { Features } from "../wgsl/template/holes.ts"
import type { Pipeline, Pipelines } from "./pipelines.ts"
import type { Block } from "./pool.ts"

/** A kernel that is ready for the adapter. */
export interface Ready extends Executable {
  readonly emitted: Emitted
  readonly pipelines: readonly Pipeline[]
}

/** Passes that start together; passes of a run are numbered in the order of its calls. */
export interface Dispatch {
  readonly passes: readonly number[]
  /** How the passes run as one; a lone pass has its own pipeline. */
  readonly merged: { readonly pipeline: Pipeline; readonly rows: readonly (number | undefined)[]; readonly units: number; readonly readsArguments: boolean } | undefined
  /** The last group of buffers, and what it was made of: the next run mostly has the same. */
  blocks: readonly Block[]
  group: GPUBindGroup | undefined
}
/** Calls whose dispatches are handed over together: those up to `calls`. */
export interface Batch { readonly calls: number; readonly dispatches: readonly Dispatch[] }

/**
 * Calls that are handed over together, at first and at most: some 0.4 ms of planning and encoding, against some 50 µs that handing over takes.
 * Between, each time twice as many: an adapter is about twice as long at a call of a decoding step as the host, so it always has something to do.
 */
const firstCalls = 8, mostCalls = 96
/** Runs after which a program is taken to run on. */
const manyRuns = 3

const lone = (pass: number): Dispatch => ({ passes: [pass], merged: undefined, blocks: [], group: undefined })

/** The calls from each place on that belong together, by their waves. */
function batchesOf(calls: readonly Call[]): number[] {
  const ends: number[] = []
  let from = 0, wanted = firstCalls
  for (let i = 1; i <= calls.length; i++) {
    const between = i === calls.length || calls[i]!.wave === undefined || calls[i]!.wave !== calls[i - 1]!.wave
    if (!between || (i < calls.length && i - from < wanted)) continue
    ends.push(i)
    from = i
    wanted = Math.min(2 * wanted, mostCalls)
  }
  return ends
}

/** Every pass on its own. */
export function plainBatches(calls: readonly Call[]): Batch[] {
  let pass = 0, at = 0
  return batchesOf(calls).map((end) => {
    const dispatches: Dispatch[] = []
    for (; at < end; at++) for (let n = (calls[at]!.executable as Ready).emitted.passes.length; n > 0; n--) dispatches.push(lone(pass++))
    return { calls: end, dispatches }
  })
}

interface Known { batches: readonly Batch[]; runs: number }

/** Programs that were seen, and what became of them. */
export class Dispatches {
  private readonly known = new WeakMap<object, Known>()
  private readonly pipelines: Pipelines
  private readonly features: Features
  private readonly merges: boolean
  private readonly underWay = new Set<Promise<void>>()
  /** Dispatches of several passes that are in use. */
  merged = 0

  constructor(pipelines: Pipelines, features: Features, merges: boolean) {
    this.pipelines = pipelines
    this.features = features
    this.merges = merges
  }

  of(calls: readonly Call[], program: object | undefined): readonly Batch[] {
    if (program === undefined) return plainBatches(calls)
    let known = this.known.get(program)
    if (known === undefined) this.known.set(program, (known = { batches: plainBatches(calls), runs: 0 }))
    if (this.merges && ++known.runs === manyRuns && calls.some((c, i) => i > 0 && c.wave !== undefined && c.wave === calls[i - 1]!.wave)) {
      const own = known
      // Until the pipelines are made, and where they cannot be, the passes run one by one.
      const done: Promise<void> = this.merge(calls).then((batches) => void (own.batches = batches), () => {}).then(() => void this.underWay.delete(done))
      this.underWay.add(done)
    }
    return known.batches
  }
  /** When what is being joined now is. */
  async settled(): Promise<void> {
    await Promise.all(this.underWay)
  }

  private async merge(calls: readonly Call[]): Promise<Batch[]> {
    const firsts: number[] = []
    let passes = 0
    for (const { executable } of calls) {
      firsts.push(passes)
      passes += (executable as Ready).emitted.passes.length
    }
    let at = 0
    const batches = batchesOf(calls).map((end) => {
      const lists: List[] = []
      while (at < end) {
        const begin = at, { wave } = calls[at]!
        for (at++; at < end && wave !== undefined && calls[at]!.wave === wave; at++);
        const group = Array.from({ length: at - begin }, (_, i) => ({ emitted: (calls[begin + i]!.executable as Ready).emitted.passes, first: firsts[begin + i]!, kernel: calls[begin + i]!.executable.kernel }))
        // First passes before second ones, which read what those leave.
        const depth = Math.max(...group.map((g) => g.emitted.length))
        for (let p = 0; p < depth; p++) {
          const own = group.filter((g) => g.emitted.length > p), emitted = own.map((g) => g.emitted[p]!)
          for (const numbers of shareOut(emitted, this.features))
            lists.push({ passes: numbers.map((n) => own[n]!.first + p), emitted: numbers.map((n) => emitted[n]!), what: numbers.map((n) => passName(own[n]!.kernel, p)).join(" + ") })
        }
      }
      return { calls: end, lists }
    })
    const worthwhile = chosen(batches.flatMap((b) => b.lists))
    return Promise.all(batches.map(async ({ calls: end, lists }): Promise<Batch> =>
      ({ calls: end, dispatches: (await Promise.all(lists.map(async (l) => (worthwhile.has(textOf(l)) ? [await this.dispatch(l)] : l.passes.map(lone))))).flat() })))
  }
  private async dispatch({ passes, emitted, what }: List): Promise<Dispatch> {
    const { code, bindings, readsArguments, rows, units } = mergedPass(emitted)
    const pipeline = await this.pipelines.get({ code, bindings, readsArguments }, what)
    this.merged++
    return { passes, merged: { pipeline, rows, units, readsArguments }, blocks: [], group: undefined }
  }
}

/** Passes that may share a dispatch, and in words what they do. */
interface List { readonly passes: readonly number[]; readonly emitted: readonly EmittedPass[]; readonly what: string }

/** Pipelines of joined passes that a program gets at most: making one costs a driver as much as a hundred thousand dispatches. */
const mostJoined = 24
const textOf = ({ emitted }: List): string => emitted.map((e) => e.code).join("\0")
/** Texts of those that save most dispatches. */
function chosen(lists: readonly List[]): ReadonlySet<string> {
  const saved = new Map<string, number>()
  for (const l of lists) if (l.passes.length > 1) saved.set(textOf(l), (saved.get(textOf(l)) ?? 0) + l.passes.length - 1)
  return new Set([...saved].toSorted(([, a], [, b]) => b - a).slice(0, mostJoined).map(([text]) => text))
}

/** A kernel's pass in a few words. */
export const passName = (kernel: Kernel, pass: number): string => `${nameOf(kernel)}${pass === 0 ? "" : `, pass ${pass + 1}`}`

/** A kernel in a few words. */
export function nameOf(kernel: Kernel): string {
  const shape = `${kernel.dtype}[${kernel.shape.join(", ")}]`
  return kernel.kind === "template" ? `${kernel.name} ${shape}` : kernel.kind === "reduce" ? `${kernel.combine} over ${sizeOf(kernel.over)} ${shape}` : `map ${shape}`
}

/** The kernels of some calls in a few words. */
export function namesOf(calls: readonly Call[]): string {
  const names = new Set(calls.map((c) => nameOf(c.executable.kernel)))
  return names.size === 0 ? "nothing" : [...names].slice(0, 6).join(", ") + (names.size > 6 ? ", …" : "")
}
