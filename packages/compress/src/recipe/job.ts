import { fail } from "@thimble/core"
import type { Model, Stores } from "@thimble/models"
import type { Calibration } from "./calibration.ts"
import { openCheckpoint } from "./checkpoint.ts"
import { hashOfModel } from "./model-hash.ts"
import { release } from "./release.ts"
import { reportOf, type Report } from "./report.ts"
import type { JobEvent, PlannedStage, ReportEntry, Stage } from "./stage.ts"

export interface RunOptions {
  /** Ends the job with an AbortError, soon. What was finished is in the checkpoint. */
  readonly signal?: AbortSignal
  /** Directory in which finished parts are kept: the same job, started again, goes on from them and gives the same bytes. */
  readonly checkpoint?: string
}

/** Work that runs while its events are read, or while its result is waited for. */
export interface Job<K extends string = string> extends AsyncIterable<JobEvent> {
  /** The new model, and what was done; the model it was made from stays as it was. */
  readonly result: Promise<{ readonly model: Model & Stores<K>; readonly report: Report }>
}

export function startJob<K extends string>(model: Model, recipe: readonly Stage[], stages: readonly PlannedStage[], needs: string, data: Calibration | undefined, { signal, checkpoint }: RunOptions): Job<K> {
  if (needs !== "" && data === undefined) fail("value", "run", `the recipe needs calibration data: ${needs}`, "run(await calibration(model.tokenizer, text))")
  const begun = performance.now()
  async function* work(): AsyncGenerator<JobEvent, { model: Model; report: Report }> {
    signal?.throwIfAborted()
    const kept = checkpoint === undefined ? undefined : await openCheckpoint(checkpoint, { version: 1, model: await hashOfModel(model), recipe: recipe.map((s) => s.toJSON()), data: data?.hash ?? null })
    const entries: ReportEntry[] = []
    let current = model, finished = false
    /** The next model; of the one before it stays what that has, and what the first has. */
    const goOn = (next: Model): void => {
      if (current !== model && current !== next) release(current, next, model)
      current = next
    }
    try {
      for (const [i, stage] of stages.entries()) {
        if (stage.lazily === undefined) goOn(await current.loaded())
        const own = stage.run(current, { ...(data && { data }), ...(signal && { signal }), ...(kept && { checkpoint: { load: (name) => kept.load(`${i}-${name}`), save: (name, w) => kept.save(`${i}-${name}`, w) } }) })
        for (;;) {
          const step = await own.next()
          if (step.done === true) {
            goOn(step.value)
            break
          }
          if (step.value.kind === "matrix") entries.push(step.value.entry)
          yield { ...step.value, stage: i }
        }
        yield { kind: "stage", stage: i, name: stage.kind, done: i + 1, total: stages.length }
      }
      finished = true
      return { model: current, report: reportOf(model, current, entries, data, (performance.now() - begun) / 1000) }
    } finally {
      if (!finished && current !== model) release(current, model)
    }
  }
  const events = work()
  let result: Promise<{ model: Model; report: Report }> | undefined, settle: PromiseWithResolvers<{ model: Model; report: Report }> | undefined
  const finished = (): PromiseWithResolvers<{ model: Model; report: Report }> => {
    if (settle === undefined) {
      settle = withResolvers()
      // Whoever reads events sees the error there.
      settle.promise.catch(() => {})
    }
    return settle
  }
  const next = async (): Promise<IteratorResult<JobEvent, undefined>> => {
    try {
      const step = await events.next()
      if (step.done !== true) return step
      if (step.value !== undefined) finished().resolve(step.value)
      return { done: true, value: undefined }
    } catch (e) {
      finished().reject(e)
      throw e
    }
  }
  let reading = false
  return {
    [Symbol.asyncIterator]() {
      reading = true
      return {
        next,
        async return() {
          await events.return(undefined as never)
          finished().reject(new DOMException("the events were not read to their end", "AbortError"))
          return { done: true, value: undefined }
        },
      }
    },
    get result() {
      result ??= (async () => {
        if (!reading) while ((await next()).done !== true);
        return finished().promise
      })()
      return result
    },
  }
}

/** Promise.withResolvers, which Node 20 and older browsers lack. */
function withResolvers<T>(): PromiseWithResolvers<T> {
  let resolve!: (value: T | PromiseLike<T>) => void, reject!: (reason?: unknown) => void
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}
