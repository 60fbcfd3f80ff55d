import { add, fail, loadState, mapTree, partition, random, realize, tensorsOf, zerosLike, type Tensor } from "@thimble/core"
import type { Model } from "@thimble/models"
import type { Batch } from "../data/data.ts"
import type { Seen } from "../loss/loss.ts"
import type { Ask, Network, Parameters } from "../network.ts"
import type { Answers, Follower } from "../teacher/teacher.ts"
import { checkBatch } from "./check.ts"
import { hasCheckpoints, openCheckpoint, saveCheckpoint, type Progress } from "./checkpoint.ts"
import type { Run, Scores, Step, Trained, TrainOptions } from "./options.ts"
import { disposeAll, initialState, programs, type Given, type State } from "./program.ts"
import { judge, type Best } from "./stopping.ts"

/** Who teaches: inside the step's program, from outside, or the student itself. */
export interface Teaching {
  readonly inside?: Network
  readonly outside?: Answers
  readonly follows?: Follower
}

type Named = Readonly<Record<string, Tensor>>
/** Loss scale in f16 (Micikevicius et al., 2017, arXiv:1710.03740, §3.2): where it starts, and after how many good steps it doubles. */
const [firstScale, patience] = [2 ** 12, 200]

/** The loop behind `fit` and `distill`. */
export function train<M extends Model | Network>(op: string, student: Network, teaching: Teaching, options: TrainOptions<M>): Run<Parameters<M>> {
  let ended: Trained<Parameters<M>> | undefined
  const steps = makeSteps(op, student, teaching, options, (t) => void (ended = t as Trained<Parameters<M>>))
  return Object.assign(steps, {
    async finish() {
      while (ended === undefined) if ((await steps.next()).done) break
      return ended ?? fail("value", op, "training did not come to an end", "its error was thrown where steps were read")
    },
  })
}

async function* makeSteps<M extends Model | Network>(op: string, student: Network, { inside, outside, follows }: Teaching, options: TrainOptions<M>, end: (t: Trained<unknown>) => void): AsyncGenerator<Step, void, undefined> {
  const { loss, data, optimizer, steps, accumulate = 1, seed = 0, evaluate, stop, checkpoints, signal } = options
  const { every = 500, keep = 2, resume = "latest" } = checkpoints ?? {}
  const { trainable, frozen } = partition(student.parameters, options.trains ?? (() => true))
  const scaled = student.precision === "f16"
  const lossParameters = loss.parameters?.(student.dimensions, inside?.dimensions ?? outside?.dimensions ?? student.dimensions, random.key(seed)) ?? {}
  const fresh = (): State => initialState(trainable, lossParameters, optimizer, follows !== undefined)
  const ask: Ask = { wanted: loss.needs.teacher, ...(loss.needs.top !== undefined && { top: loss.needs.top }) }
  const identity = await data.id()
  if (needed(outside)) await outside.prepare?.({ data: identity, ask })

  let state = fresh(), best: { readonly found: Best; readonly model: Named } | undefined
  let progress: Progress = {
    step: 0, scale: scaled ? firstScale : 1, steady: 0, history: { losses: [], scores: [] },
    settings: { loss: loss.name, optimizer: optimizer.name, data: identity, accumulate, clip: options.clip ?? null, seed, precision: student.precision ?? "f32", ...(follows && { decay: follows.decay }) },
  }
  if (checkpoints !== undefined && resume === "none" && (await hasCheckpoints(checkpoints.folder))) fail("value", op, `${checkpoints.folder} has checkpoints of an earlier run`, "name another folder, or resume: 'latest'")
  const found = checkpoints && await openCheckpoint(checkpoints.folder, progress.settings, (p) => ({ ...fresh(), ...(p.best && { best: fresh().learned.model }) }))
  if (found !== undefined) {
    disposeAll(state)
    const { best: kept, ...rest } = found.state as State & { best?: Named }
    state = rest
    progress = found.progress
    if (progress.best && kept) best = { found: progress.best, model: kept }
  }
  await realize(...tensorsOf(state))
  const losses = [...progress.history.losses]
  const given: Given = { frozen, teacher: inside?.parameters ?? {} }
  const program = programs({ student, teacher: inside, decay: follows?.decay, loss, optimizer, clip: options.clip, rated: options.rate !== undefined, scaled })
  const modelOf = (learned: Named): unknown => loadState(student.parameters, { ...learned, ...frozen })
  let savedAt = found === undefined ? -1 : progress.step
  const save = async (): Promise<string> => {
    const path = await saveCheckpoint(checkpoints!.folder, { ...state, ...(best && { best: best.model }) }, progress, keep)
    savedAt = progress.step
    return path
  }

  let stopped: Trained<unknown>["stopped"] = "left", checked = false
  const begun = performance.now(), first = progress.step
  try {
    while (progress.step < steps && !signal?.aborted) {
      const started = performance.now(), index = progress.step, rate = options.rate?.(index)
      let tokens = 0
      const used: unknown[] = []
      const next = async (i: number): Promise<readonly [Batch, Seen]> => {
        const batch = await data.batch(index * accumulate + i, { get model() { return modelOf(state.learned.model) } })
        used.push(batch)
        if (!checked) checkBatch(op, batch, loss, data, { student, teacher: inside ?? outside })
        checked = true
        tokens += batch.labels?.size ?? batch.inputs.shape[0]!
        const answer = needed(outside) && ask.wanted.length > 0 ? await outside.answer(batch.readings ? { ...batch, inputs: batch.readings.inputs } : batch, ask, index * accumulate + i) : {}
        used.push(answer)
        return [batch, answer]
      }
      let made: Awaited<ReturnType<typeof program.whole>>
      try {
        if (accumulate === 1) {
          const [batch, answer] = await next(0)
          made = await program.whole(state, given, batch, answer, rate ?? 0, progress.scale)
        } else made = await program.inParts(state, given, inTurn(accumulate, next, used), rate ?? 0, progress.scale)
      } finally {
        disposeAll(used)
      }
      state = made.state
      const { loss: value, norm, parts } = made.numbers
      const finite = Number.isFinite(value) && Number.isFinite(norm)
      if (!finite && !(scaled && progress.scale > 1 && Number.isFinite(value))) {
        const kept = checkpoints === undefined ? "the parameters of the step before are what finish() would have given" : `the last good state is in ${await save()}`
        fail("numeric", op, `${Number.isFinite(value) ? `the gradients of step ${index + 1} have norm ${norm}` : `the loss of step ${index + 1} is ${value}`} (${Object.entries(parts).map(([n, v]) => `${n} ${v}`).join(", ")}); ${kept}`, "a lower rate, or clip, may help")
      }
      const steady = finite ? progress.steady + 1 : 0
      const scale = !scaled ? 1 : !finite ? progress.scale / 2 : steady % patience === 0 ? progress.scale * 2 : progress.scale
      losses.push(value)
      progress = { ...progress, step: index + 1, scale, steady, history: { ...progress.history, losses } }

      let scores: Scores | undefined, enough = false
      if (evaluate !== undefined && (progress.step % evaluate.every === 0 || progress.step === steps)) {
        scores = await evaluate.run(modelOf(state.learned.model) as Parameters<M>, progress.step)
        progress = { ...progress, history: { ...progress.history, scores: [...progress.history.scores, { step: progress.step, scores }] } }
        if (stop !== undefined) {
          const verdict = judge(stop, best?.found, progress.step, scores)
          if (verdict.improved) {
            disposeAll(best?.model)
            best = { found: verdict.best, model: mapTree(state.learned.model, (t) => add(t, zerosLike(t))) }
            await realize(...tensorsOf(best.model))
          } else best = { found: verdict.best, model: best!.model }
          progress = { ...progress, best: verdict.best }
          enough = verdict.enough
        }
      }
      let saved: string | undefined
      if (checkpoints !== undefined && (progress.step % every === 0 || progress.step === steps || enough)) saved = await save()
      const now = performance.now(), elapsed = (now - begun) / 1000
      yield {
        step: progress.step, steps, loss: value, parts, rate, norm, tokens, seconds: (now - started) / 1000, elapsed,
        remaining: (elapsed / (progress.step - first)) * (steps - progress.step),
        ...(scores && { scores }), ...(saved !== undefined && { saved }), ...(!finite && { skipped: true }),
      }
      if (enough) {
        stopped = "early"
        break
      }
      // Lets timers and signals in, which promises alone do not.
      await new Promise<void>((resolve) => void (typeof setImmediate === "function" ? setImmediate(resolve) : setTimeout(resolve)))
    }
    if (stopped !== "early") stopped = progress.step >= steps ? "done" : "aborted"
  } catch (e) {
    stopped = "failed"
    throw e
  } finally {
    // Whoever leaves the loop ends up here, too, with a checkpoint like that of an abort.
    program.dispose()
    if (checkpoints !== undefined && savedAt !== progress.step && progress.step > first) await save()
    disposeAll([state.optimizer, state.average])
    const chosen = best?.model ?? state.learned.model
    if (best !== undefined) disposeAll(state.learned.model)
    end({
      model: modelOf(chosen), steps: progress.step, stopped, history: progress.history, loss: state.learned.loss,
      ...(best && { best: { step: best.found.step, score: best.found.score } }),
    })
  }
}

const needed = (outside: Answers | undefined): outside is Answers => outside !== undefined

/** Batches one at a time; those before are let go of. */
async function* inTurn(count: number, next: (i: number) => Promise<readonly [Batch, Seen]>, used: unknown[]): AsyncGenerator<readonly [Batch, Seen]> {
  for (let i = 0; i < count; i++) {
    yield await next(i)
    disposeAll(used.splice(0))
  }
}
