import type { Device } from "./device.ts"
import { sizeOf } from "./shape.ts"
import { apply, type Op, type Tensor } from "./tensor.ts"

const copyOp: Op<undefined> = {
  name: "copy",
  meaning: { scalar: ([x]) => x! },
  result: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
}
/** The same value in memory of its own. */
export const copyOf = (t: Tensor): Tensor => apply(copyOp, [t], undefined)

/**
 * The scheduler cuts a graph into groups, one kernel each, by one rule: a reduction, a tuned composite or a routine ends
 * a kernel; everything else joins the one kernel that reads it. It is stored instead when two kernels read it, when one
 * kernel reads it at two different coordinates, or when a broadcast would compute it again and again. Movement and
 * other cheap ops are never stored for the sake of a consumer.
 */
export interface Schedule {
  /** Kernels in an order in which every source comes first. */
  readonly groups: readonly Group[]
  /** What holds the value of each output, in the order of the outputs: all distinct, and none is an operand's memory. */
  readonly outputs: readonly Tensor[]
  /** What a tensor is computed as: itself, or the expansion of a composite the device has no kernel for. */
  resolve(t: Tensor): Tensor
}

/** What becomes one kernel: the stored `root`, and the reduction or composite whose epilogue the root's arithmetic is. */
export interface Group {
  readonly root: Tensor
  /** The reduction, tuned composite or routine inside, if any; may be the root itself. */
  core: Tensor | undefined
  readonly frame: Frame
}

/** A set of coordinates at which a kernel evaluates something; two reads in one frame are one evaluation. */
interface Frame { readonly size: number }
interface Use { readonly group: Group; readonly frame: Frame }

export function schedule(outputs: readonly Tensor[], device: Device): Schedule {
  const expanded = new Map<Tensor, Tensor>()
  const resolve = (t: Tensor): Tensor => {
    let r = expanded.get(t)
    if (r !== undefined) return r
    r = t
    while (r.storage === undefined && "expand" in r.op.meaning && !hasKernel(r, device)) r = r.op.meaning.expand(r.sources, r.attrs)
    expanded.set(t, r)
    return r
  }
  // Every output gets memory of its own, also when it turns out to be an operand or another output.
  const held = new Set<Tensor>()
  for (const o of outputs) {
    const r = resolve(o)
    const borrowed = r.storage !== undefined || ("leaf" in r.op.meaning && r.op.meaning.leaf !== "scalar") || held.has(r)
    held.add(borrowed ? copyOf(r) : r)
  }
  const order = topological([...held], resolve)
  const constants = constantScalars(order, resolve)
  const uses = new Map<Tensor, Use[]>()
  const stored = new Set<Tensor>(held)
  for (const t of order)
    if (t.storage === undefined && "routine" in t.op.meaning) for (const s of t.sources) stored.add(resolve(s))
  cutLongChains(order, resolve, stored)

  const groups: Group[] = []
  const use = (t: Tensor, group: Group, frame: Frame): void => {
    const r = resolve(t)
    const list = uses.get(r)
    if (list === undefined) uses.set(r, [{ group, frame }])
    else if (!list.some((u) => u.group === group && u.frame === frame)) list.push({ group, frame })
  }

  for (let i = order.length - 1; i >= 0; i--) {
    const t = order[i]!
    const meaning = t.op.meaning
    if (t.storage !== undefined || ("leaf" in meaning && (meaning.leaf !== "scalar" || !stored.has(t)))) continue
    const mine = uses.get(t) ?? []
    const heavy = "reduce" in meaning || "expand" in meaning || "routine" in meaning
    const only = mine.length === 1 ? mine[0] : undefined
    let reads: readonly Use[] = mine
    if (heavy) {
      const host = stored.has(t) || "routine" in meaning || only === undefined ? undefined : only.group
      let group: Group
      if (host !== undefined && host.core === undefined && only!.frame === host.frame && host.frame.size === t.size) {
        group = host
        group.core = t
      } else {
        group = { root: t, core: t, frame: { size: t.size } }
        groups.push(group)
      }
      readByCore(t, group, use)
      continue
    }
    const joins = !stored.has(t) && (isFree(t) || constants.has(t) || (only !== undefined && only.frame.size <= t.size))
    if (!joins) {
      const group: Group = { root: t, core: undefined, frame: { size: t.size } }
      groups.push(group)
      reads = [{ group, frame: group.frame }]
    }
    const sameFrame = "scalar" in meaning || t.op.flat === true
    for (const { group, frame } of reads)
      for (const s of t.sources) use(s, group, sameFrame ? frame : { size: frame.size })
  }
  return { groups: groups.reverse(), outputs: [...held], resolve }
}

/** A reduction reads its source once per element, a template each operand at its own coordinates, a routine whole arrays. */
function readByCore(t: Tensor, group: Group, use: (t: Tensor, group: Group, frame: Frame) => void): void {
  if ("reduce" in t.op.meaning) use(t.sources[0]!, group, { size: t.sources[0]!.size })
  else if ("routine" in t.op.meaning) for (const s of t.sources) use(s, group, { size: s.size })
  else
    for (const l of Object.values(t.op.template!.loads(t, t.attrs)))
      for (const s of "source" in l ? [l.source] : l.sources) use(t.sources[s]!, group, { size: sizeOf(l.shape) })
}

/**
 * Longest chain of ops that one kernel computes. Expressions are walked recursively, some ops are twenty operations deep,
 * and the stack bears about 1500; what is stored in between costs little beside so much arithmetic.
 */
const longestChain = 32
function cutLongChains(order: readonly Tensor[], resolve: (t: Tensor) => Tensor, stored: Set<Tensor>): void {
  const lengths = new Map<Tensor, number>()
  for (const t of order) {
    const { meaning } = t.op
    let length = 0
    if (t.storage === undefined && !stored.has(t) && !("routine" in meaning || "reduce" in meaning || "expand" in meaning || "leaf" in meaning)) {
      for (const s of t.sources) length = Math.max(length, 1 + lengths.get(resolve(s))!)
      if (length >= longestChain) {
        stored.add(t)
        length = 0
      }
    }
    lengths.set(t, length)
  }
}

/** Single numbers made of constants and run-time scalars only: computing them again is cheaper than a kernel. */
function constantScalars(order: readonly Tensor[], resolve: (t: Tensor) => Tensor): Set<Tensor> {
  const found = new Set<Tensor>()
  for (const t of order) {
    const { meaning } = t.op
    const leaf = "leaf" in meaning ? meaning.leaf === "scalar" : t.storage === undefined && ("scalar" in meaning || "move" in meaning || "at" in meaning)
    if (leaf && t.size === 1 && t.sources.every((s) => found.has(resolve(s)))) found.add(t)
  }
  return found
}

const isFree = (t: Tensor): boolean => "move" in t.op.meaning || t.op.cheap === true || t.sources.length === 0

function hasKernel(t: Tensor, device: Device): boolean {
  const template = (t.op as Op).template
  return template !== undefined && device.accepts(t.op.name, template.dims(t, t.attrs), t.dtype)
}

/** Sources before users; iterative, because graphs of training loops are deep. */
function topological(outputs: readonly Tensor[], resolve: (t: Tensor) => Tensor): Tensor[] {
  const order: Tensor[] = []
  const state = new Map<Tensor, number>()
  const stack: Tensor[] = []
  for (const o of outputs) {
    stack.push(o)
    while (stack.length > 0) {
      const t = stack[stack.length - 1]!
      const next = state.get(t) ?? 0
      if (t.storage !== undefined || next >= t.sources.length) {
        stack.pop()
        if (next !== Infinity) {
          state.set(t, Infinity)
          order.push(t)
        }
        continue
      }
      state.set(t, next + 1)
      const s = resolve(t.sources[next]!)
      if (state.get(s) === undefined) stack.push(s)
    }
  }
  return order
}
