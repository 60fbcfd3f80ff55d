import { fail } from "@thimble/core"
import type { Model } from "@thimble/models"
import type { Network, Parameters } from "../network.ts"
import type { Teacher } from "../teacher/teacher.ts"
import { distill, type DistillOptions } from "./distill.ts"
import type { Run, Step, Trained } from "./options.ts"

export interface ProgressiveOptions<M extends Model | Network> extends Omit<DistillOptions<M>, "student"> {
  /** Each learns from the one before, the first from the teacher: ever smaller ones (teacher assistants), or of one size (born-again networks). */
  readonly students: readonly M[]
}

/**
 * A chain of students: each, once it is trained, teaches the next (teacher assistants: Mirzadeh et al., 2019, arXiv:1902.03393; born-again
 * networks: Furlanello et al., 2018, arXiv:1805.04770). Checkpoints of each are in a folder of its own, and stages that were done stay done.
 */
export function progressive<M extends Model | Network>({ students, teacher, checkpoints, ...options }: ProgressiveOptions<M>): AsyncGenerator<Step & { readonly stage: number }, void, undefined> & { finish(): Promise<readonly Trained<Parameters<M>>[]> } {
  if (students.length === 0) fail("value", "progressive", "there are no students")
  const done: Trained<Parameters<M>>[] = []
  let ended = false
  async function* stages(): AsyncGenerator<Step & { readonly stage: number }, void, undefined> {
    let before: Teacher = teacher
    for (const [stage, student] of students.entries()) {
      const run: Run<Parameters<M>> = distill<M>({ ...options, teacher: before, student, ...(checkpoints && { checkpoints: { ...checkpoints, folder: `${checkpoints.folder}/stage-${stage}` } }) } as DistillOptions<M>)
      for await (const step of run) yield { stage, ...step }
      const result = await run.finish()
      done.push(result)
      if (options.signal?.aborted) return
      // What was trained is a model, or the parameters of a network.
      before = ("see" in student ? { ...student, parameters: result.model } : result.model) as Teacher
    }
    ended = true
  }
  const steps = stages()
  return Object.assign(steps, {
    async finish() {
      while (!ended) if ((await steps.next()).done) break
      return done
    },
  })
}
