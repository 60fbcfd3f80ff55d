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

/** Rebuilds a tree leaf by leaf. A leaf is whatever is not an array, a plain object or {@link Composed}; `enter` sees those. */
export function walkTree(tree: unknown, visit: (leaf: unknown, path: string) => unknown, path = "", enter?: (branch: Composed, path: string) => void): unknown {
  const under = (key: string | number): string => (path === "" ? `${key}` : `${path}.${key}`)
  if (Array.isArray(tree)) return tree.map((t, i) => walkTree(t, visit, under(i), enter))
  if (tree === null || typeof tree !== "object") return visit(tree, path)
  const fields = (of: object): Record<string, unknown> => Object.fromEntries(Object.entries(of).map(([k, t]) => [k, walkTree(t, visit, under(k), enter)]))
  if (isComposed(tree)) {
    enter?.(tree, path)
    return tree.withParts(fields(tree.parts()) as Record<string, Tensor>)
  }
  return isPlain(tree) ? fields(tree) : visit(tree, path)
}
const isPlain = (x: object): boolean => {
  const p = Object.getPrototypeOf(x) as unknown
  return p === Object.prototype || p === null
}

/** A tree of the same form with every tensor replaced; other leaves (numbers, functions, undefined) stay. */
export function mapTree<T>(tree: T, fn: (t: Tensor, path: string) => unknown): T {
  return walkTree(tree, (leaf, path) => (leaf instanceof Tensor ? fn(leaf, path) : leaf)) as T
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
export const tensorsOf = (tree: unknown): Tensor[] => leavesOf(tree).map((l) => l.tensor)

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
