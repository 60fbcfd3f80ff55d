import { fail } from "./errors.ts"
import { Tensor } from "./tensor.ts"

/** Tensors in nested arrays and plain objects: parameters, optimizer states, batches. */
export type Tree<Leaf = Tensor> = Leaf | readonly Tree<Leaf>[] | { readonly [key: string]: Tree<Leaf> }

/** Anything made of named tensors that can be made again from others (weights) is a branch of a tree, too. */
export interface Composed {
  /** What, besides its parts, decides what it computes; compiled functions keep programs of different forms apart. */
  readonly form: string
  parts(): Readonly<Record<string, Tensor>>
  withParts(parts: Readonly<Record<string, Tensor>>): this
}
const isComposed = (x: object): x is Composed => "parts" in x && "withParts" in x && typeof x.parts === "function"

/** Rebuilds a tree leaf by leaf. A leaf is whatever is not an array, a plain object or {@link Composed}. */
export function walkTree(tree: unknown, visit: (leaf: unknown, path: string) => unknown, path = ""): unknown {
  const under = (key: string | number): string => (path === "" ? `${key}` : `${path}.${key}`)
  if (Array.isArray(tree)) return tree.map((t, i) => walkTree(t, visit, under(i)))
  const branch = branchOf(tree)
  if (branch === undefined) return visit(tree, path)
  const fields = Object.fromEntries(Object.entries(branch).map(([k, t]) => [k, walkTree(t, visit, under(k))]))
  return branch === tree ? fields : (tree as Composed).withParts(fields as Record<string, Tensor>)
}
/** @internal What stands below a plain object or {@link Composed}, by name; undefined for anything else. */
export function branchOf(x: unknown): Readonly<Record<string, unknown>> | undefined {
  if (x === null || typeof x !== "object" || x instanceof Tensor) return undefined
  return isComposed(x) ? x.parts() : isPlain(x) ? (x as Record<string, unknown>) : undefined
}
const isPlain = (x: object): boolean => {
  const p = Object.getPrototypeOf(x) as unknown
  return p === Object.prototype || p === null
}

/** A tree of the same form with every tensor replaced; other leaves (numbers, functions, undefined) stay. */
export function mapTree<T>(tree: T, fn: (t: Tensor, path: string) => unknown): T {
  return walkTree(tree, (leaf, path) => (leaf instanceof Tensor ? fn(leaf, path) : leaf)) as T
}

/** @internal {@link mapTree} for whoever asks for no paths: a compiled function builds its result on every call. */
export function rebuildTree<T>(tree: T, fn: (t: Tensor) => unknown): T {
  const rebuild = (x: unknown): unknown => {
    if (x instanceof Tensor) return fn(x)
    if (Array.isArray(x)) {
      const list: unknown[] = new Array(x.length)
      for (let i = 0; i < list.length; i++) list[i] = rebuild(x[i])
      return list
    }
    const branch = branchOf(x)
    if (branch === undefined) return x
    const fields = Object.create(null) as Record<string, unknown>
    for (const key of Object.keys(branch)) fields[key] = rebuild(branch[key])
    return branch === x ? { ...fields } : (x as Composed).withParts({ ...fields } as Record<string, Tensor>)
  }
  return rebuild(tree) as T
}

/** Tensors of a tree by dotted path, in a fixed order. */
export function leavesOf(tree: unknown): { path: string; tensor: Tensor }[] {
  const out: { path: string; tensor: Tensor }[] = []
  walkTree(tree, (leaf, path) => {
    if (leaf instanceof Tensor) out.push({ path, tensor: leaf })
    return leaf
  })
  return out
}
export function tensorsOf(tree: unknown): Tensor[] {
  const out: Tensor[] = []
  const visit = (x: unknown): void => {
    if (x instanceof Tensor) out.push(x)
    else if (Array.isArray(x)) for (const t of x) visit(t)
    else {
      const branch = branchOf(x)
      if (branch !== undefined) for (const k of Object.keys(branch)) visit(branch[k])
    }
  }
  visit(tree)
  return out
}

/** Dotted name → tensor, as checkpoints store a model. A tensor that stands at two places is named once. */
export function stateDict(tree: unknown): Record<string, Tensor> {
  const seen = new Set<Tensor>()
  const out: Record<string, Tensor> = {}
  for (const { path, tensor } of leavesOf(tree)) {
    if (seen.has(tensor)) continue
    seen.add(tensor)
    out[path] = tensor
  }
  return out
}

/** The tree with its tensors taken from a state dict; missing, unknown and misshapen names are listed in one error. */
export function loadState<T>(tree: T, state: Readonly<Record<string, Tensor>>): T {
  if (typeof state !== "object" || state === null) fail("value", "loadState", `needs names and tensors, got ${state === null ? "null" : typeof state}`)
  const want = stateDict(tree)
  const found = (k: string): Tensor | undefined => (Object.hasOwn(state, k) ? state[k] : undefined)
  const missing = Object.keys(want).filter((k) => found(k) === undefined)
  const unknown = Object.keys(state).filter((k) => !Object.hasOwn(want, k))
  const others = Object.keys(want).filter((k) => found(k) !== undefined && !(found(k) instanceof Tensor))
  const disposed = Object.keys(want).filter((k) => found(k)?.disposed === true)
  const unfit = Object.keys(want).filter((k) => found(k) instanceof Tensor && String(want[k]!.shape) !== String(state[k]!.shape))
  if (missing.length + unknown.length + unfit.length + others.length + disposed.length > 0) {
    const part = (what: string, names: string[]): string => (names.length ? `${what}: ${names.join(", ")}` : "")
    const shapes = unfit.map((k) => `${k} [${state[k]!.shape.join(", ")}] instead of [${want[k]!.shape.join(", ")}]`)
    fail("value", "loadState", [part("missing", missing), part("unknown", unknown), part("no tensor", others), part("disposed", disposed), part("wrong shape", shapes)].filter(Boolean).join("; "))
  }
  const byTensor = new Map(Object.entries(want).map(([k, t]) => [t, state[k]!]))
  return mapTree(tree, (t) => byTensor.get(t)!)
}
