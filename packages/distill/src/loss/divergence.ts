import { castTo, div, fail, logSoftmax, mul, reshape, showShape, stopGradient, type Tensor } from "@thimble/core"
import { counted, meanOver, part, type Loss, type View } from "./loss.ts"

/** What distributions are compared on: some of the classes instead of all. */
export interface Restriction {
  readonly name: string
  /** What it asks of the teacher: logits, or only the most probable classes. */
  readonly needs: "logits" | "top"
  /** How many of those. */
  readonly top?: number
  /** Logarithms of probabilities [rows, kept classes] of both, softened. */
  logProbabilities(view: View, temperature: number): { readonly teacher: Tensor; readonly student: Tensor }
}

export interface DivergenceOptions {
  /** Both logits are divided by it; 1 unless given. */
  readonly temperature?: number
  /** Factor of the loss; temperature² unless given, so that gradients keep their size (Hinton et al., 2015, §2). */
  readonly scale?: number
  /** Some of the classes instead of all: {@link topK}, {@link topP}. */
  readonly restrict?: Restriction
  /** What is done to both logits before they are softened: {@link standardize}. */
  readonly prepare?: (logits: Tensor) => Tensor
}

/** A loss that compares the distributions of two models. */
export interface Divergence extends Loss {
  /** Of each row, from logarithms of probabilities [rows, classes] of both. */
  between(teacher: Tensor, student: Tensor): Tensor
}

/** Makes a loss of a divergence of rows of logarithms of probabilities. */
export function divergence(name: string, { temperature = 1, scale = temperature ** 2, restrict, prepare }: DivergenceOptions, between: Divergence["between"]): Divergence {
  if (!(temperature > 0 && temperature < Infinity)) fail("value", name, `the temperature must be positive, got ${temperature}`)
  if (!Number.isFinite(scale)) fail("value", name, `the scale must be finite, got ${scale}`)
  if (restrict !== undefined && prepare !== undefined) fail("value", name, "logits cannot be prepared and restricted at once", "standardized logits need all classes")
  return {
    name: restrict === undefined ? name : `${name} of ${restrict.name}`,
    needs: { student: ["logits"], teacher: [restrict?.needs ?? "logits"], ...(restrict?.top !== undefined && { top: restrict.top }) },
    between,
    check(student, teacher) {
      sameClasses(name, student.classes, teacher?.classes)
      if (restrict?.top !== undefined && teacher?.classes !== undefined && restrict.top > teacher.classes) fail("value", name, `the ${restrict.top} most probable of ${teacher.classes} classes`)
    },
    compute(view) {
      const soften = (x: Tensor): Tensor => {
        const rows = rowsOf(x), ready = prepare === undefined ? rows : prepare(rows)
        return logSoftmax(temperature === 1 ? ready : div(ready, temperature))
      }
      const both = restrict?.logProbabilities(view, temperature) ?? { teacher: soften(stopGradient(teacherLogits(name, view))), student: soften(studentLogits(name, view)) }
      const mean = meanOver(between(both.teacher, both.student), counted(view))
      return scale === 1 ? mean : mul(mean, scale)
    },
  }
}

/** The student's logits, in at least f32. */
export const studentLogits = (loss: string, { student }: View): Tensor => wide(part(loss, "student", "logits", student.logits))
/** The teacher's, of the same shape. */
export function teacherLogits(loss: string, { student, teacher }: View): Tensor {
  const logits = wide(part(loss, "teacher", "logits", teacher?.logits)), own = student.logits
  if (own !== undefined && String(own.shape) !== String(logits.shape)) fail("shape", loss, `logits of student ${showShape(own.shape)} and teacher ${showShape(logits.shape)} differ`, "both must see the same batch and know the same classes")
  return logits
}
/** Logits [..., classes] as [rows, classes]. */
export const rowsOf = (x: Tensor): Tensor => reshape(x, [x.size / x.shape.at(-1)!, x.shape.at(-1)!])
const wide = (x: Tensor): Tensor => (x.dtype === "f64" ? x : castTo(x, "f32"))

/** Refuses different vocabularies. */
export function sameClasses(loss: string, student: number | undefined, teacher: number | undefined): void {
  if (student !== undefined && teacher !== undefined && student !== teacher)
    fail("value", loss, `the student knows ${student} classes, the teacher ${teacher}`, "distributions over different vocabularies cannot be compared token by token")
}
