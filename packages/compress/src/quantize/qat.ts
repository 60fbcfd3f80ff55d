import { castTo, denseWeight, fail, isFloat, mapTree, mul, realize, tensorsOf, type Activations, type QuantizedOptions, type Tensor, type Weight } from "@thimble/core"
import type { QuantizedFormat } from "../quantizer.ts"
import { finds } from "../recipe/rules.ts"
import type { IntegerFormat } from "../format/integers.ts"
import { isFake, roundedWeight, steppedWeight, type FakeWeight } from "./fake-weight.ts"
import { initialSteps, storedSteps } from "./lsq.ts"

/** What can be prepared for training: matrices and vectors by name, such as a model has. M is what it is made of anew. */
export interface Matrices<M> {
  readonly weights: Readonly<Record<string, Weight>>
  readonly vectors: Readonly<Record<string, Tensor>>
  with(changed: Readonly<Record<string, Weight | Tensor>>): M
}

/** Integers whose steps train, too. */
export interface Learned { readonly learns: IntegerFormat }
/**
 * Steps of a format of integers that train together with the matrix: learned step size quantization. A matrix that is stored in this
 * format already, by whatever method, starts with its own codes, steps and zero points; others as `initialSteps` says.
 */
export function lsq(format: IntegerFormat): Learned {
  if (!("integers" in format)) fail("value", "lsq", `steps are learned for formats made by int(), not for ${(format as QuantizedFormat).name}`)
  return { learns: format }
}

/** A way of its own to train a matrix: {@link tuned}, {@link masked}. */
export interface Trainable {
  /** Of tensors of its own; refuses, with the matrix's name, what cannot be trained so. */
  prepared(weight: Weight, path: string, options: QuantizedOptions): Promise<FakeWeight>
}

/** What becomes of a matrix: its values rounded to a format, with steps that learn, in a way of its own, or `keep`: trained as it is. */
export type Rounding = QuantizedFormat | Learned | Trainable | "keep"

export interface PrepareOptions {
  /** What products see of their other operand, for all matrices or by their names; f32, all of it, unless given. Matrices that are kept see all. */
  readonly activations?: Activations | ((path: string) => Activations)
  /** For all matrices that no rule names; `keep` unless given. */
  readonly default?: Rounding
  /**
   * For the matrices whose name matches: the first rule that does. A string is a whole name or its end from a dot on
   * (`down_proj`). A rule that no matrix is left for is an error.
   */
  readonly rules?: readonly (readonly [pattern: string | RegExp, rounding: Rounding])[]
}

/** Memory of its own, f32 for floats. */
const copied = (t: Tensor): Tensor => mul(isFloat(t.dtype) ? castTo(t, "f32") : t, 1)

/**
 * A model for quantization-aware training: its matrices hold f32 values and compute with what would be stored of them, and
 * gradients pass straight through. As a tree it is its trainable tensors, so gradients, optimizers and `compile` take it as
 * any other model, and the loss is any function of its logits. It shares no memory with the one it was made from: that may be
 * its teacher, and the prepared one's tensors may be donated.
 */
export async function prepare<M extends Matrices<M>>(model: M, { default: otherwise = "keep", rules = [], activations: seen = "f32" }: PrepareOptions): Promise<M> {
  const used = new Set<number>(), changed: Record<string, Weight | Tensor> = {}
  for (const [path, weight] of Object.entries(model.weights)) {
    const at = rules.findIndex(([pattern]) => finds(pattern, { path, shape: weight.shape })), how = at < 0 ? otherwise : rules[at]![1]
    used.add(at)
    if (how === "keep") changed[path] = typeof weight.storage === "string" ? denseWeight(copied(weight.dense())) : mapTree(weight, copied)
    else if ("prepared" in how) changed[path] = await how.prepared(weight, path, { activations: typeof seen === "function" ? seen(path) : seen })
    else {
      const values = copied(weight.dense()), format = "learns" in how ? how.learns : how, activations = typeof seen === "function" ? seen(path) : seen
      if (weight.shape[1] % (format.unit ?? 1) !== 0) fail("shape", "prepare", `${format.name} stores rows of whole multiples of ${format.unit}, and ${path} has ${weight.shape[1]} columns`, "give it a rule of its own")
      changed[path] = "learns" in how ? steppedWeight(values, storedSteps(weight, how.learns) ?? initialSteps(values, how.learns), how.learns, { activations }) : roundedWeight(values, how, { activations })
    }
  }
  const idle = rules.findIndex((_, i) => !used.has(i))
  if (idle >= 0) fail("value", "prepare", `no matrix is left for the rule ${String(rules[idle]![0])}`, `names are like '${Object.keys(model.weights)[0]}'`)
  if (!Object.values(changed).some((w) => isFake(w as Weight))) fail("value", "prepare", "every matrix is kept", "name a default format")
  for (const [name, vector] of Object.entries(model.vectors)) changed[name] = copied(vector)
  await realize(...tensorsOf(changed))
  return model.with(changed)
}

/**
 * The model with its matrices stored: each is, bit for bit, what the prepared one computed with. Logits are, too, where a
 * device takes the same way through products of stored and of plain matrices (else they differ by the order of sums). The
 * prepared model stays usable.
 */
export async function convert<M extends Matrices<M>>(model: M): Promise<M> {
  const changed: Record<string, Weight> = {}
  for (const [path, weight] of Object.entries(model.weights)) if (isFake(weight)) changed[path] = await weight.stored()
  if (Object.keys(changed).length === 0) fail("value", "convert", "the model has no matrix that was prepared", "prepare() it first")
  return model.with(changed)
}
