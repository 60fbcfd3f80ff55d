import { fail, tensorsOf, type Tensor } from "@thimble/core"
import type { Tokenizer } from "@thimble/formats"
import type { Batch, Data } from "../data/data.ts"
import type { Dimensions, Loss, Quantity } from "../loss/loss.ts"
import type { TrainOptions } from "./options.ts"

/** What a check knows of one of the models. */
interface Side { readonly offers: readonly Quantity[]; readonly dimensions: Dimensions; readonly tokenizer?: Tokenizer }

const words: Readonly<Record<Quantity, string>> = {
  logits: "logits", top: "most probable classes", head: "head", final: "final stream", embedding: "embeddings", hidden: "hidden states", attention: "attention maps", queries: "queries", keys: "keys", values: "values",
}

/** Refuses a loss whose needs are not met, and models that do not fit each other, before anything is computed. */
export function checkModels(op: string, loss: Loss, student: Side, teacher: Side | undefined): void {
  if (typeof (loss as Partial<Loss> | undefined)?.compute !== "function") fail("value", op, "the loss is no loss", "softTargets(), sum([weight, loss], …)")
  const lacks = (whose: string, needed: readonly Quantity[], { offers }: Side): void => {
    const missing = needed.filter((q) => !offers.includes(q))
    if (missing.length > 0) fail("value", op, `${loss.name} needs the ${whose}'s ${missing.map((q) => words[q]).join(" and ")}, and it shows ${offers.length === 0 ? "nothing" : `only ${offers.map((q) => words[q]).join(", ")}`}`)
  }
  lacks("student", loss.needs.student, student)
  if (loss.needs.teacher.length > 0 && teacher === undefined) fail("value", op, `${loss.name} needs a teacher`, op === "fit" ? "distill({ teacher, student, … }), or a loss of labels alone" : undefined)
  if (teacher !== undefined) lacks("teacher", loss.needs.teacher, teacher)
  loss.check?.(student.dimensions, teacher?.dimensions)
  if (teacher !== undefined && !loss.needs.readings && loss.needs.teacher.some((q) => q === "logits" || q === "top" || q === "head")) sameVocabulary(op, student, teacher)
}

function sameVocabulary(op: string, student: Side, teacher: Side): void {
  const [s, t] = [student.dimensions.classes, teacher.dimensions.classes]
  if (s !== undefined && t !== undefined && s !== t) fail("value", op, `the student knows ${s} classes, the teacher ${t}`, "their distributions cannot be compared token by token")
  const [own, other] = [student.tokenizer, teacher.tokenizer]
  if (own === undefined || other === undefined || own === other) return
  for (let id = 0; id < Math.max(own.size, other.size); id++) {
    const [a, b] = [id < own.size ? own.tokenOf(id) : undefined, id < other.size ? other.tokenOf(id) : undefined]
    if (a !== b) fail("value", op, `token ${id} is ${JSON.stringify(a)} to the student and ${JSON.stringify(b)} to the teacher`, "their vocabularies differ, so distributions cannot be compared token by token")
  }
}

/** A teacher is a constant: its tensors may be shared with the student, but not be computed from what learns. */
export function checkConstant(op: string, teacher: unknown, student: unknown): void {
  const learned = new Set(tensorsOf(student)), seen = new Set<Tensor>()
  const stack = tensorsOf(teacher).filter((t) => t.storage === undefined)
  while (stack.length > 0) {
    const t = stack.pop()!
    if (seen.has(t)) continue
    seen.add(t)
    for (const s of t.sources) {
      if (learned.has(s)) fail("grad", op, "the teacher is computed from tensors of the student, so it would have a gradient", "realize the teacher first, or use movingAverage()")
      if (s.storage === undefined) stack.push(s)
    }
  }
}

export function checkOptions(op: string, { steps, accumulate = 1, clip, evaluate, stop, checkpoints }: TrainOptions): void {
  const count = (name: string, n: number | undefined, least = 1): void => {
    if (n !== undefined && !(Number.isInteger(n) && n >= least)) fail("value", op, `${name} must be a whole number ≥ ${least}, got ${n}`)
  }
  count("steps", steps)
  count("accumulate", accumulate)
  count("evaluate.every", evaluate?.every)
  count("stop.patience", stop?.patience)
  count("checkpoints.every", checkpoints?.every)
  count("checkpoints.keep", checkpoints?.keep)
  if (clip !== undefined && !(clip > 0)) fail("value", op, `clip must be > 0, got ${clip}`)
  if (stop !== undefined && evaluate === undefined) fail("value", op, `nothing gives the score '${stop.score}' that ends training`, "evaluate: { every, run }")
}

/** Sequences longer than what a model has positions for. */
export function checkLength(op: string, length: number | undefined, sides: Readonly<Record<string, Side | undefined>>): void {
  for (const [whose, side] of Object.entries(sides)) {
    const context = side?.dimensions.context
    if (length !== undefined && context !== undefined && length > context) fail("shape", op, `sequences have ${length} positions, the ${whose}'s context ${context}`, "cut the data into shorter windows")
  }
}

/** The first batch shows what data is. */
export function checkBatch(op: string, batch: Batch, loss: Loss, data: Data, sides: Readonly<Record<string, Side | undefined>>): void {
  if (loss.needs.labels && batch.labels === undefined) fail("value", op, `${loss.name} needs labels, and the data has none`)
  if (loss.needs.readings && batch.readings === undefined) fail("value", op, `${loss.name} needs a text as both models read it`, "data: readings(text, { student, teacher, … })")
  if (data.length === undefined && batch.inputs.rank === 2) checkLength(op, batch.inputs.shape[1], sides)
}
