import { isFloat, type DType } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { literal } from "../literal.ts"
import { full, zerosLike } from "../ops/create.ts"
import { add, castTo } from "../ops/elementwise.ts"
import { sameShape } from "../shape.ts"
import { Tensor } from "../tensor.ts"
import { leavesOf, mapTree, stateDict } from "../tree.ts"

/** A learning rate: a number, or a 0-d tensor as a compiled function's arguments are. */
export type Rate = number | Tensor

/**
 * An update rule as pure functions of trees: parameters and gradients go in, new parameters and a new state come out, as
 * lazy tensors. Call `update` inside `compile`, with the old parameters and state donated, or `realize` what it returns.
 * Float tensors are updated, the others pass through. A tensor at two places is one parameter.
 */
export interface Optimizer<S> {
  readonly name: string
  /** The state before the first step. */
  init(parameters: unknown): S
  /** One step. `rate` replaces the optimizer's own for this step. */
  update<P>(parameters: P, grads: P, state: S, rate?: Rate): { parameters: P; state: S }
}

/** What an optimizer keeps: the number of steps made (i32, 0-d), and per slot a tensor for each parameter by its dotted name. */
export type OptimizerState<Slot extends string = never> = { readonly step: Tensor } & { readonly [K in Slot]: Readonly<Record<string, Tensor>> }

/** Options of every optimizer. */
export interface OptimizerOptions {
  /** Learning rate, finite and ≥ 0. */
  readonly rate: number
  /** Weight decay, ≥ 0; 0 unless given. */
  readonly weightDecay?: number
  /** Which parameters decay, by dotted name; all unless given. Usually biases and norms are left out. */
  readonly decays?: (path: string, parameter: Tensor) => boolean
}

/** What one parameter's rule gets; all of it in the parameter's type, f16 and bf16 as f32. */
export interface Moment<Slot extends string> {
  /** The parameter and its gradient. */
  readonly p: Tensor
  readonly g: Tensor
  /** The weight decay of this parameter. */
  readonly decay: number
  readonly slots: Readonly<Record<Slot, Tensor>>
}
/** The new parameter and the new values of its slots. */
export type Moved<Slot extends string> = { readonly p: Tensor } & Readonly<Record<Slot, Tensor>>

/** How an optimizer is stated: its slots, and the rule of one step. */
export interface Rule<Slot extends string> {
  readonly name: string
  readonly options: OptimizerOptions
  /** First value of each slot; undefined for a parameter that has none. */
  readonly slots: Readonly<Record<Slot, (p: Tensor) => Tensor | undefined>>
  /** Step t = 1, 2, … with its rate, both 0-d in the type of the parameters that the returned rule is for. */
  step(t: Tensor, rate: Tensor): (moment: Moment<Slot>) => Moved<Slot>
}

/** Arithmetic of a parameter's type: f16 and bf16 are updated in f32 and rounded once. */
const wide = (dtype: DType): DType => (dtype === "f64" ? "f64" : "f32")
/** A slot of zeros like the parameter. */
export const zero = (p: Tensor): Tensor => zerosLike(castTo(p, wide(p.dtype)))

/** Makes an optimizer from its rule. */
export function optimizer<Slot extends string>(rule: Rule<Slot>): Optimizer<OptimizerState<Slot>> {
  type State = OptimizerState<Slot>
  const { name, options } = rule
  const { weightDecay = 0, decays = () => true } = options
  checkRate(name, options.rate)
  checkNumber(name, "weightDecay", weightDecay)
  const slotNames = Object.keys(rule.slots) as Slot[]

  const init = (parameters: unknown): State => {
    const slots: Record<string, Record<string, Tensor>> = {}
    for (const slot of slotNames) {
      const values: Record<string, Tensor> = (slots[slot] = {})
      for (const [path, p] of floats(parameters)) {
        const first = rule.slots[slot](p)
        if (first !== undefined) values[path] = first
      }
    }
    return { step: full([], 0, "i32"), ...slots } as State
  }

  const update = <P>(parameters: P, grads: P, state: State, rate: Rate = options.rate): { parameters: P; state: State } => {
    if (!((state as Partial<State> | undefined)?.step instanceof Tensor)) fail("value", name, "the state has no 'step'", "init() it with the parameters that are updated")
    const step = add(state.step, 1)
    const rateAs = rateIn(name, rate, rate === options.rate)
    const gradOf = matchGrads(name, parameters, grads)
    const rules = new Map<DType, (moment: Moment<Slot>) => Moved<Slot>>()
    const ruleOf = (dtype: DType): ((moment: Moment<Slot>) => Moved<Slot>) => {
      let r = rules.get(dtype)
      if (r === undefined) rules.set(dtype, (r = rule.step(castTo(step, dtype), rateAs(dtype))))
      return r
    }
    const slots: Record<string, Record<string, Tensor>> = Object.fromEntries(slotNames.map((s) => [s, {}]))
    const moved = new Map<Tensor, Tensor>()
    for (const [path, p] of floats(parameters)) {
      const dtype = wide(p.dtype)
      const mine = {} as Record<Slot, Tensor>
      for (const slot of slotNames) mine[slot] = slotOf(name, slot, state, path, rule.slots[slot](p))
      const next = ruleOf(dtype)({
        p: castTo(p, dtype), g: castTo(gradOf.get(path)!, dtype), slots: mine,
        decay: weightDecay !== 0 && decays(path, p) ? weightDecay : 0,
      })
      moved.set(p, castTo(next.p, p.dtype))
      for (const slot of slotNames) if (mine[slot] !== undefined) slots[slot]![path] = next[slot]
    }
    return { parameters: mapTree(parameters, (t) => moved.get(t) ?? t), state: { step, ...slots } as State }
  }
  return { name, init, update }
}

/** Float tensors by name, each once. */
const floats = (tree: unknown): [path: string, tensor: Tensor][] => Object.entries(stateDict(tree)).filter(([, t]) => isFloat(t.dtype))

function matchGrads(op: string, parameters: unknown, grads: unknown): Map<string, Tensor> {
  const byPath = new Map(leavesOf(grads).map(({ path, tensor }) => [path, tensor]))
  const missing: string[] = [], unfit: string[] = []
  for (const [path, p] of floats(parameters)) {
    const g = byPath.get(path)
    if (g === undefined) missing.push(path)
    else if (!sameShape(g.shape, p.shape) || !isFloat(g.dtype)) unfit.push(`${path} ${g.dtype}${showShape(g.shape)} instead of ${p.dtype}${showShape(p.shape)}`)
  }
  if (missing.length > 0) fail("value", op, `no gradient for ${missing.join(", ")}`, "partition() the parameters to leave some frozen")
  if (unfit.length > 0) fail("shape", op, `gradients do not fit: ${unfit.join(", ")}`)
  return byPath
}

function slotOf<Slot extends string>(op: string, slot: Slot, state: OptimizerState<Slot>, path: string, like: Tensor | undefined): Tensor {
  const values = (state as Partial<Readonly<Record<Slot, Readonly<Record<string, Tensor>>>>>)[slot]
  const found = values?.[path]
  if (like === undefined) return undefined as never
  if (found === undefined) fail("value", op, `the state has no '${slot}' of ${path}`, "init() it with the parameters that are updated")
  if (!sameShape(found.shape, like.shape)) fail("shape", op, `'${slot}' of ${path} is ${showShape(found.shape)}, expected ${showShape(like.shape)}`, "init() it with the parameters that are updated")
  return found
}

// ── Checks ──

/** A rate as a 0-d tensor; the optimizer's own is a constant of the kernels, one given for a step is an operand. */
function rateIn(op: string, rate: Rate, own: boolean): (dtype: DType) => Tensor {
  if (!(rate instanceof Tensor)) {
    checkRate(op, rate)
    return (dtype) => (own ? full([], rate, dtype) : literal(rate, dtype))
  }
  if (rate.rank !== 0 || rate.dtype === "bool") fail("shape", op, `the rate must be a number or a 0-d tensor, got ${rate.dtype}${showShape(rate.shape)}`)
  return (dtype) => castTo(rate, dtype)
}
export function checkRate(op: string, rate: number): void {
  if (!(typeof rate === "number" && rate >= 0 && rate < Infinity)) fail("value", op, `the rate must be finite and ≥ 0, got ${String(rate)}`, "check the schedule that it comes from")
}
export function checkNumber(op: string, option: string, value: number): void {
  if (!(typeof value === "number" && value >= 0 && value < Infinity)) fail("value", op, `${option} must be finite and ≥ 0, got ${String(value)}`)
}
/** Decay factors of running means: 1 would keep the first value for ever. */
export function checkFactor(op: string, option: string, value: number): void {
  if (!(typeof value === "number" && value >= 0 && value < 1)) fail("value", op, `${option} must be in 0 ≤ ${option} < 1, got ${String(value)}`, "typical values are 0.9 … 0.999")
}
