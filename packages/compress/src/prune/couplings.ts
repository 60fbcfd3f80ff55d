import { fail, tensorsOf, type Tensor } from "@thimble/core"
import { Labels, none, pinned, reshapeLabels, type Labelled } from "./labels.ts"

/** An axis of a weight, and what along it belongs to which channel. */
export interface CoupledAxis {
  readonly weight: string
  /** Rows of a matrix [out, in] are axis 0, columns axis 1. */
  readonly axis: number
  /** For each channel the places along the axis that stand and go with it. */
  readonly places: readonly (readonly number[])[]
}

/** Channels that stand and go together. */
export interface Coupling {
  readonly count: number
  readonly axes: readonly CoupledAxis[]
  /** Something is computed over all of the channels, a norm or a softmax, and comes out otherwise with fewer: leaving some out is not as setting them to zero. */
  readonly whole: boolean
}

/**
 * Finds the channels of a function of tensors that can be left out together, by its graph: what is added, multiplied or
 * joined elementwise stands and goes together, and so do the two sides of a product's inner axis; a split axis (heads) goes by its
 * outer part. Axes of inputs and of the result stay, and so do rows that are looked up, and whatever goes into an operation
 * whose channels are not followed (scatters, windows, host code), comes out of one, or meets constants.
 */
export function traceCouplings(fn: (...inputs: Tensor[]) => unknown, inputs: readonly Tensor[], weights: Readonly<Record<string, Tensor>>): Coupling[] {
  const labels = new Labels(), known = new Map<Tensor, Labelled>(), own = new Map<Tensor, { readonly name: string; readonly axes: readonly Int32Array[] }>()
  for (const [name, t] of Object.entries(weights)) {
    if (own.has(t)) continue
    const axes = t.shape.map((n) => labels.fresh(n))
    own.set(t, { name, axes })
    known.set(t, axes)
  }
  for (const t of inputs) if (!known.has(t)) known.set(t, t.shape.map((n) => new Int32Array(n).fill(pinned)))
  const outputs = tensorsOf(fn(...inputs))
  if (outputs.length === 0) fail("value", "traceCouplings", "the function gives no tensors")
  const follow = (out: Tensor): Labelled => followFrom(out, known, labels)
  for (const t of outputs) pin(follow(t), labels)
  return couplingsOf([...own.values()], labels)
}

/** Labels of a tensor, and of all below it. Graphs are deep: those that wait lie on a stack. */
function followFrom(out: Tensor, known: Map<Tensor, Labelled>, labels: Labels): Labelled {
  const stack = [out]
  while (stack.length > 0) {
    const t = stack.at(-1)!
    if (known.has(t)) {
      stack.pop()
      continue
    }
    const missing = t.sources.filter((s) => !known.has(s))
    if (missing.length > 0) {
      stack.push(...missing)
      continue
    }
    known.set(t, rule(t, t.sources.map((s) => known.get(s)!), labels, (expanded) => followFrom(expanded, known, labels)))
    stack.pop()
  }
  return known.get(out)!
}

type Rule = (t: Tensor, src: readonly Labelled[], labels: Labels) => (Int32Array | undefined)[]
interface Window { readonly start: readonly number[]; readonly step: readonly number[]; readonly shape: readonly number[] }

/** A row for each operation whose channels can be followed beyond what its meaning says. */
const rules: Readonly<Record<string, Rule>> = {
  reshape: (t, [x], labels) => reshapeLabels(labels, t.sources[0]!.shape, x!, t.shape),
  permute: (t, [x]) => (t.attrs as readonly number[]).map((a) => x![a]),
  expand(t, [x]) {
    const skip = t.shape.length - x!.length
    return t.shape.map((n, i) => (i < skip || t.sources[0]!.shape[i - skip] !== n ? undefined : x![i - skip]))
  },
  slice: (t, [x]) => {
    const { start, step } = t.attrs as Window
    return t.shape.map((n, i) => x![i] && Int32Array.from({ length: n }, (_, c) => x![i]![start[i]! + c * step[i]!]!))
  },
  place: (t, [x]) => {
    const { start, step } = t.attrs as Window
    return t.shape.map((n, i) => {
      if (x![i] === undefined) return undefined
      const out = new Int32Array(n).fill(none)
      x![i].forEach((l, c) => (out[start[i]! + c * step[i]!] = l))
      return out
    })
  },
  flip: (t, [x]) => x!.map((axis, i) => (axis && (t.attrs as readonly number[]).includes(i) ? axis.toReversed() : axis)),
  cat(t, src, labels) {
    const along = t.attrs as number
    return t.shape.map((n, i) => {
      if (i !== along) return joinAll(src.map((s) => s[i]), labels)
      if (src.every((s) => s[i] === undefined)) return undefined
      const out = new Int32Array(n).fill(none)
      let at = 0
      src.forEach((s, k) => {
        if (s[i] !== undefined) out.set(s[i], at)
        at += t.sources[k]!.shape[i]!
      })
      return out
    })
  },
  matmul(_t, [a, b], labels) {
    joinAll([a![2], b![1]], labels)
    return [joinAll([a![0], b![0]], labels), a![1], b![2]]
  },
  convolution(t, [x, w], labels) {
    const { groups } = t.attrs as { readonly groups: number }, channels = t.sources[0]!.shape[1]!, out = t.shape[1]!
    pin([...x!.slice(2), ...w!.slice(2)], labels)
    if (groups === 1) joinAll([x![1], w![1]], labels)
    // A filter of its own for each channel; in other groups, channels of one cannot go alone.
    else if (groups === channels && out === channels) {
      pin([w![1]], labels)
      return [x![0], joinAll([x![1], w![0]], labels), ...t.shape.slice(2).map(() => undefined)]
    } else pin([x![1], ...w!], labels)
    return [x![0], w![0], ...t.shape.slice(2).map(() => undefined)]
  },
  pick: firstAxis,
  maxPool: firstAxis,
  parts: firstAxis,
  gather(t, [x, index], labels) {
    const { axis } = t.attrs as { readonly axis: number }
    pin([x![axis]], labels)
    return t.shape.map((n, i) => joinAll([i === axis ? undefined : x![i]?.subarray(0, n), index![i]], labels))
  },
}

function rule(t: Tensor, src: readonly Labelled[], labels: Labels, follow: (expanded: Tensor) => Labelled): Labelled {
  const { name, meaning } = t.op
  if (Object.hasOwn(rules, name)) return rules[name]!(t, src, labels)
  if ("scalar" in meaning) return t.shape.map((_, i) => joinAll(src.map((s) => s[i]), labels))
  if ("expand" in meaning) return follow(meaning.expand(t.sources, t.attrs))
  if ("reduce" in meaning) {
    const axes = meaning.axes(t.attrs)
    return src[0]!.map((axis, i) => {
      if (!axes.includes(i)) return axis
      labels.mark(axis ?? [])
      return undefined
    })
  }
  // One number everywhere fits any size.
  if (name === "full") return t.shape.map(() => undefined)
  for (const s of src) pin(s, labels)
  return t.shape.map((n) => new Int32Array(n).fill(pinned))
}

/** Windows over the axes behind the first. */
function firstAxis(t: Tensor, [x]: readonly Labelled[], labels: Labels): (Int32Array | undefined)[] {
  pin(x!.slice(1), labels)
  return t.shape.map((_, i) => (i === 0 ? x![0] : undefined))
}

/** What is along these axes cannot go. */
function pin(axes: Labelled, labels: Labels): void {
  for (const axis of axes) for (const l of axis ?? []) if (l !== none) labels.join(l, pinned)
}

/** Labels of axes that are one: place by place they stand and go together. */
function joinAll(axes: readonly (Int32Array | undefined)[], labels: Labels): Int32Array | undefined {
  const [first, ...others] = axes.filter((a) => a !== undefined)
  if (first === undefined || others.length === 0) return first
  const out = first.slice()
  for (const other of others) other.forEach((l, i) => { if (l !== none) out[i] = out[i] === none ? l : labels.join(out[i]!, l) })
  return out
}

/** Channels that take places of the same axes of weights, as many each, are of one kind. */
function couplingsOf(weights: readonly { readonly name: string; readonly axes: readonly Int32Array[] }[], labels: Labels): Coupling[] {
  const channels = new Map<number, Map<string, { readonly weight: string; readonly axis: number; readonly places: number[] }>>()
  for (const { name, axes } of weights)
    axes.forEach((axis, a) => axis.forEach((l, place) => {
      const root = labels.root(l)
      if (root === pinned) return
      const own = channels.get(root) ?? channels.set(root, new Map()).get(root)!, key = `${name} ${a}`
      const at = own.get(key) ?? own.set(key, { weight: name, axis: a, places: [] }).get(key)!
      at.places.push(place)
    }))
  const whole = labels.marked()
  const kinds = Map.groupBy([...channels], ([root, axes]) => `${whole.has(root)} ${[...axes].map(([key, { places }]) => `${key} ${places.length}`).join()}`)
  return [...kinds.values()].map((same): Coupling => ({
    count: same.length, whole: whole.has(same[0]![0]),
    axes: [...same[0]![1].keys()].map((key): CoupledAxis => ({ weight: same[0]![1].get(key)!.weight, axis: same[0]![1].get(key)!.axis, places: same.map(([, axes]) => axes.get(key)!.places) })),
  }))
}
