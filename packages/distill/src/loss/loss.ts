import { add, castTo, div, fail, maximum, mul, ne, reshape, sum as total, type Key, type Tensor, type Weight } from "@thimble/core"

/** What a model can show of how it came to an answer. */
export type Quantity = "logits" | "top" | "head" | "final" | "embedding" | "hidden" | "attention" | "queries" | "keys" | "values"

/** The most probable classes of each position, best first. */
export interface Top {
  /** Their numbers [..., k], i32. */
  readonly indices: Tensor
  /** Logarithms of their probabilities among all classes [..., k]. */
  readonly logProbabilities: Tensor
}
/** How logits [..., classes] are made of {@link Seen.final}. */
export interface Head {
  readonly weight: Weight
  readonly bias?: Tensor
  /** Logits are held within ±cap by cap·tanh(x/cap). */
  readonly cap?: number
}

/** What a model showed of one batch. */
export interface Seen {
  /** Of every position, [..., classes]; of a language model [batch, positions, classes]. */
  readonly logits?: Tensor
  readonly top?: Top
  /** What the head reads [..., width], and the head. */
  readonly final?: Tensor
  readonly head?: Head
  /** What the first block reads, and what each block gives [batch, positions, width]. */
  readonly embedding?: Tensor
  readonly hidden?: readonly Tensor[]
  /** Of each block [batch, heads, positions, positions]: how much a query takes of each key. */
  readonly attention?: readonly Tensor[]
  /** Of each block [batch, heads, positions, headSize]. */
  readonly queries?: readonly Tensor[]
  readonly keys?: readonly Tensor[]
  readonly values?: readonly Tensor[]
}

/** Sizes of a model that losses ask for, as far as it has them. */
export interface Dimensions {
  readonly classes?: number
  readonly width?: number
  readonly layers?: number
  readonly heads?: number
  readonly kvHeads?: number
  readonly context?: number
}

/**
 * A text as two models read it, each in tokens of its own, and the spans of it that both take whole tokens for: between
 * places where both readings have a boundary. n spans of a batch, padded.
 */
export interface Readings {
  /** What the teacher reads, i32 [batch, positions], and the tokens that follow; −100 where there is none. */
  readonly inputs: Tensor
  readonly labels: Tensor
  /** Where each span's first token is predicted, by student and by teacher: numbers among all positions of the batch, i32 [n]. */
  readonly first: Tensor
  readonly teacherFirst: Tensor
  /** Which spans there are (0/1) [n]. */
  readonly counts: Tensor
  /** The span whose later tokens each position predicts, or n if it predicts no such: i32 [batch, positions], of both. */
  readonly rest: Tensor
  readonly teacherRest: Tensor
}

/** What a loss is computed from. */
export interface View {
  readonly student: Seen
  readonly teacher?: Seen
  /** The right classes, i32; positions of −100 do not count. */
  readonly labels?: Tensor
  /** Which positions count (bool or 0/1), in the shape of the labels; those with a label, or all, unless given. Without a label none counts for losses of labels. */
  readonly mask?: Tensor
  /** The loss's own parameters, by name. */
  readonly parameters?: Readonly<Record<string, Tensor>>
  /** What the teacher makes of examples that are not in the batch [n, width]. */
  readonly negatives?: Tensor
  /** How student and teacher read the same text, where their tokens differ. */
  readonly readings?: Readings
}

/** What a loss asks for; what is not there is refused before anything is computed. */
export interface Needs {
  readonly student: readonly Quantity[]
  readonly teacher: readonly Quantity[]
  readonly labels?: boolean
  /** How many of the most probable classes, where `top` is asked for. */
  readonly top?: number
  /** Whether it takes a teacher of another vocabulary, which reads the text in tokens of its own: {@link Readings}. */
  readonly readings?: boolean
}

/**
 * A loss: a pure function of tensors, and what it asks for. It is the mean over the positions that count, so losses of
 * batches join with their counts as weights. No gradient flows to the teacher.
 */
export interface Loss {
  readonly name: string
  readonly needs: Needs
  compute(view: View): Tensor
  /** Refuses models whose sizes do not fit. */
  check?(student: Dimensions, teacher: Dimensions | undefined): void
  /** First values of parameters that are learned with the student: projections between widths. */
  parameters?(student: Dimensions, teacher: Dimensions, key: Key): Readonly<Record<string, Tensor>>
  /** What it is the weighted sum of, if it is one. */
  readonly terms?: readonly (readonly [weight: number, loss: Loss])[]
}

/** A part of a view, which is there if the loss's needs were met. */
export function part<T>(loss: string, of: "student" | "teacher" | "batch", name: string, value: T | undefined): T {
  return value ?? fail("value", loss, `needs the ${of}'s ${name}`, "it was not passed to compute()")
}

/** Which positions count, as numbers [positions]; undefined where all do. */
export function counted({ mask, labels }: Pick<View, "mask" | "labels">): Tensor | undefined {
  if (mask !== undefined) return reshape(castTo(mask, "f32"), [mask.size])
  return labels === undefined ? undefined : reshape(castTo(ne(labels, ignored), "f32"), [labels.size])
}
/** Which positions have a label and count, as numbers [positions]: of losses of labels. */
export function labelled({ mask, labels }: Pick<View, "mask" | "labels">): Tensor | undefined {
  const right = counted({ ...(labels && { labels }) })
  return mask === undefined || right === undefined ? right : mul(right, counted({ mask })!)
}
/** Which positions a loss is the mean over; undefined where it is all. */
export const countsOf = (loss: Loss, view: Pick<View, "mask" | "labels">): Tensor | undefined => (loss.needs.labels ? labelled(view) : counted(view))

/** The label of positions that do not count. */
export const ignored = -100

/** The mean of a number per position over those that count; 0 where none does. */
export function meanOver(values: Tensor, counts: Tensor | undefined): Tensor {
  const flat = reshape(values, [values.size])
  if (counts === undefined) return div(total(flat), values.size)
  if (counts.size !== values.size) fail("shape", "loss", `${values.size} values for ${counts.size} positions`, "labels and mask are of the shape of the logits, without their classes")
  const factors = castTo(counts, flat.dtype)
  return div(total(mul(flat, factors)), maximum(total(factors), 1e-6))
}

/** Names of what a loss needs, joined. */
export const joinedNeeds = (losses: readonly Loss[]): Needs => {
  const top = Math.max(0, ...losses.map((l) => l.needs.top ?? 0))
  const all = (of: "student" | "teacher"): Quantity[] => [...new Set(losses.flatMap((l) => l.needs[of]))]
  return { student: all("student"), teacher: all("teacher"), labels: losses.some((l) => l.needs.labels), ...(top > 0 && { top }), ...(losses.some((l) => l.needs.readings) && { readings: true }) }
}

/** The sum of numbers, each with its factor. */
export const weightedSum = (terms: readonly (readonly [number, Tensor])[]): Tensor =>
  terms.map(([w, t]) => (w === 1 ? t : mul(t, w))).reduce((a, b) => add(a, b))
