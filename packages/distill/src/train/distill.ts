import { fail } from "@thimble/core"
import type { Model } from "@thimble/models"
import { asNetwork, type Network, type Parameters } from "../network.ts"
import type { Teacher } from "../teacher/teacher.ts"
import { checkConstant, checkLength, checkModels, checkOptions } from "./check.ts"
import { train, type Teaching } from "./loop.ts"
import type { Run, TrainOptions } from "./options.ts"

export interface DistillOptions<M extends Model | Network> extends TrainOptions<M> {
  readonly teacher: Teacher
  /** What learns; it is not changed, finish() gives another. */
  readonly student: M
}

/** Trains a student from the answers of a teacher, which stays as it is. */
export function distill<M extends Model | Network>(options: DistillOptions<M>): Run<Parameters<M>> {
  const student = asNetwork(options.student), teaching = teachingOf(options.teacher)
  checkOptions("distill", options)
  const side = teaching.inside ?? teaching.outside ?? student
  checkModels("distill", options.loss, student, side)
  checkLength("distill", options.data.length, { student, teacher: side })
  if (teaching.inside !== undefined) checkConstant("distill", teaching.inside.parameters, student.parameters)
  return train("distill", student, teaching, options)
}

function teachingOf(teacher: Teacher): Teaching {
  if (typeof (teacher as Teacher | undefined) !== "object") fail("value", "distill", "there is no teacher", "a model, a network, or what this package makes of them; fit() trains without")
  if ("answer" in teacher) return { outside: teacher }
  if ("decay" in teacher) return { follows: teacher }
  return { inside: asNetwork(teacher) }
}
