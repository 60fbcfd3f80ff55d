/** Labels of channels, those that stand and go together joined: a forest of sets. */
export class Labels {
  private readonly parents: number[] = [0]
  private readonly wholes = new Set<number>()

  /** A label for each of `count` channels. */
  fresh(count: number): Int32Array {
    const first = this.parents.length
    for (let i = 0; i < count; i++) this.parents.push(first + i)
    return Int32Array.from({ length: count }, (_, i) => first + i)
  }
  /** The label that stands for all that are joined with one. */
  root(label: number): number {
    let at = label
    while (this.parents[at] !== at) at = this.parents[at] = this.parents[this.parents[at]!]!
    return at
  }
  /** Joins two; the smaller stands for both, so that {@link pinned} stays itself. */
  join(a: number, b: number): number {
    const [x, y] = [this.root(a), this.root(b)], low = Math.min(x, y)
    this.parents[Math.max(x, y)] = low
    return low
  }
  /** Something is computed over all channels of these, and comes out otherwise with fewer. */
  mark(labels: Iterable<number>): void {
    for (const l of labels) if (l > pinned) this.wholes.add(l)
  }
  /** Roots of what was marked. */
  marked(): Set<number> {
    return new Set([...this.wholes].map((l) => this.root(l)))
  }
}

/** The label of what cannot go. */
export const pinned = 0
/** What has no label. */
export const none = -1

/** Labels of the channels along each axis of a tensor; undefined where an axis has none. */
export type Labelled = readonly (Int32Array | undefined)[]

/** Labels of axes under another shape. A labelled axis that is taken apart gives its labels to the outer part: heads of channels; the rest stays. */
export function reshapeLabels(labels: Labels, from: readonly number[], own: Labelled, to: readonly number[]): (Int32Array | undefined)[] {
  const out: (Int32Array | undefined)[] = to.map(() => undefined)
  for (const { sources, targets } of sharedFactors(from, to)) {
    const sizes = sources.map((s) => from[s]!), places = targets.map((t) => to[t]!), size = sizes.reduce((a, b) => a * b, 1)
    const held = new Set<number>()
    sources.forEach((s, i) => {
      const mine = own[s]
      if (mine === undefined) return
      const inner = sizes.slice(i + 1).reduce((a, b) => a * b, 1), labelAt = (e: number): number => mine[Math.floor(e / inner) % sizes[i]!]!
      if (mine.every((l) => l === none || labels.root(l) === pinned)) {
        for (const t of targets) held.add(t)
        return
      }
      const coordinate = (e: number, t: number): number => Math.floor(e / places.slice(t + 1).reduce((a, b) => a * b, 1)) % places[t]!
      let at = targets.findIndex((_, t) => isFunction(size, labelAt, (e) => coordinate(e, t), places[t]!, labels))
      const whole = at >= 0
      if (!whole) {
        at = 0
        for (const t of targets.slice(1)) held.add(t)
      }
      const given = new Int32Array(places[at]!).fill(none)
      for (let e = 0; e < size; e++) {
        const c = coordinate(e, at), l = labelAt(e)
        if (l !== none) given[c] = given[c] === none ? l : labels.join(given[c]!, l)
      }
      const target = targets[at]!, known = out[target]
      if (known === undefined) out[target] = given
      // Two kinds of channels in one axis: none of either goes without all others.
      else for (const l of [...known, ...given]) if (l !== none) labels.join(l, [...known, ...given].find((k) => k !== none)!)
    })
    for (const t of held) out[t] ??= new Int32Array(to[t]!).fill(pinned)
  }
  return out
}

/** Whether a label depends on nothing but one coordinate. */
function isFunction(size: number, labelAt: (e: number) => number, coordinate: (e: number) => number, count: number, labels: Labels): boolean {
  const seen = new Int32Array(count).fill(-2)
  for (let e = 0; e < size; e++) {
    const c = coordinate(e), l = labelAt(e), root = l === none ? none : labels.root(l)
    if (seen[c] === -2) seen[c] = root
    else if (seen[c] !== root) return false
  }
  return true
}

/** Runs of axes that hold the same elements before and after, axes of one element left out. */
function sharedFactors(from: readonly number[], to: readonly number[]): { readonly sources: number[]; readonly targets: number[] }[] {
  const a = [...from.keys()].filter((i) => from[i] !== 1), b = [...to.keys()].filter((i) => to[i] !== 1), out: { sources: number[]; targets: number[] }[] = []
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    const sources = [a[i++]!], targets = [b[j++]!]
    let left = from[sources[0]!]!, right = to[targets[0]!]!
    while (left !== right) {
      if (left < right) left *= from[(sources[sources.length] = a[i++]!)]!
      else right *= to[(targets[targets.length] = b[j++]!)]!
    }
    out.push({ sources, targets })
  }
  return out
}
