import { dtypes } from "./dtype.ts"
import { fail, showShape } from "./errors.ts"
import { leading } from "./ops/along.ts"
import { moveAxis } from "./ops/arrange.ts"
import { knownRange } from "./ops/indexing.ts"
import { expand } from "./ops/movement.ts"
import { sum } from "./ops/reduce.ts"
import { apply, describe, Tensor, type Meaning, type Op } from "./tensor.ts"
import { tensorsOf, walkTree } from "./tree.ts"

// A function is traced on one example; then every node of its graph that depends on the example is rewritten for all of
// them, which stand along a first axis: as the op itself where the op knows how, else as an op derived from its meaning.

/** Axes of a tree's tensors: one for all, or a tree of them in the form of its first levels; null where there is none. */
export type Axes = number | null | readonly Axes[] | { readonly [key: string]: Axes }

export interface VmapOptions {
  /** Along which axis the examples stand: of all arguments (0 unless given), or a list with an entry for each; null for what all examples share. */
  readonly inAxes?: Axes
  /** Where that axis is in the results, 0 unless given; null for a result that is the same for all examples. */
  readonly outAxes?: Axes
}

/**
 * The function of many examples at once, from one of a single example: `fn` sees every tensor of its arguments (trees of
 * tensors) without the axis that `inAxes` names, and its results (a tree of tensors) get the axis that `outAxes` names.
 * `fn` runs once per call. Graph to graph: it nests, mixes with `grad` and `jvp` in either order, keeps `customVjp`,
 * `stopGradient` and `checkpoint`, and may stand in a compiled function. Random numbers of one key are the same for all
 * examples; a key for each example makes them independent.
 */
export function vmap<A extends readonly unknown[], R>(fn: (...args: A) => R, { inAxes = 0, outAxes = 0 }: VmapOptions = {}): (...args: A) => R {
  if (typeof fn !== "function") fail("value", "vmap", `needs a function, got ${describe(fn)}`)
  return (...args) => {
    const all = new Map<Tensor, Tensor>(), known = new Map<string, Tensor>()
    let count: number | undefined, counted = ""
    const one = withAxes("inAxes", args, inAxes, (leaf, axis, path) => {
      if (axis === null || leaf === undefined || leaf === null) return leaf
      if (!(leaf instanceof Tensor)) return fail("value", "vmap", `argument ${path} is ${describe(leaf)} and has no axis to map`, "share it: its axis in inAxes is null")
      const what = `argument ${path}, ${leaf.dtype}${showShape(leaf.shape)}`
      const a = axisIn(`${what},`, axis, leaf.rank, "share a 0-d tensor: its axis in inAxes is null"), n = leaf.shape[a]!
      if (count !== undefined && n !== count) fail("shape", "vmap", `sizes of the mapped axis differ, ${counted}, and ${what} (${count} ≠ ${n})`)
      counted ||= what
      count = n
      // A tensor at two places (tied weights) is one example, inside as outside.
      const key = `${leaf.id} ${a}`
      if (!known.has(key)) known.set(key, exampleOf(moveAxis(leaf, a, 0), all))
      return known.get(key)
    }) as A
    if (count === undefined) fail("value", "vmap", "no argument is mapped", "inAxes must name an axis of at least one tensor")
    const n = count, result = fn(...one)
    if (result instanceof Promise) {
      // Whatever becomes of it is not what went wrong.
      result.catch(() => {})
      fail("value", "vmap", "the function must not be async", "nothing is computed while it is traced")
    }
    walkTree(result, (leaf, path) => (leaf instanceof Tensor ? leaf : fail("value", "vmap", `the function must return tensors, got ${describe(leaf)}${at(path)}`)))
    rewrite(tensorsOf(result), all)
    return withAxes("outAxes", result, outAxes, (leaf, axis, path) => {
      const y = leaf as Tensor, made = all.get(y) ?? y, what = `the result${at(path)}`
      if (axis !== null) return moveAxis(everywhere(y, all, n), 0, axisIn(what, axis, y.rank + 1))
      return made.rank === y.rank ? made : fail("value", "vmap", `${what} differs between the examples`, "give it an axis in outAxes")
    }) as R
  }
}

const at = (path: string): string => (path === "" ? "" : ` at '${path}'`)

/** Rebuilds a tree leaf by leaf, each with its axis. */
function withAxes(option: string, tree: unknown, axes: Axes, visit: (leaf: unknown, axis: number | null, path: string) => unknown, path = ""): unknown {
  if (axes === null || typeof axes === "number") return walkTree(tree, (leaf, under) => visit(leaf, axes, under), path)
  if (typeof axes !== "object") fail("value", "vmap", `${option} is made of numbers and null, got ${describe(axes)}${at(path)}`)
  const isBranch = typeof tree === "object" && tree !== null && [Object, Array, undefined].includes(tree.constructor as never)
  const keys = Object.keys(axes), found = isBranch ? Object.keys(tree) : []
  if (Array.isArray(axes) !== Array.isArray(tree) || String(keys.toSorted()) !== String(found.toSorted()))
    fail("value", "vmap", `${option} has [${keys.join(", ")}]${at(path)} where there is ${isBranch ? `[${found.join(", ")}]` : describe(tree)}`)
  const branch = tree as Record<string, unknown>, each = axes as Record<string, Axes>
  const made = found.map((k) => [k, withAxes(option, branch[k], each[k]!, visit, path === "" ? k : `${path}.${k}`)] as const)
  return Array.isArray(tree) ? made.map(([, t]) => t) : Object.fromEntries(made)
}
function axisIn(what: string, axis: number, rank: number, scalar?: string): number {
  if (Number.isInteger(axis) && axis >= -rank && axis < rank) return axis < 0 ? axis + rank : axis
  return fail("axis", "vmap", `${what} has no axis ${axis}`, rank === 0 ? scalar : `use ${-rank} … ${rank - 1}`)
}

// ── Graphs ──

const exampleOp: Op = { name: "example", meaning: { leaf: "input" }, result: () => fail("internal", "example", "is not applied") }
/** What stands for one of the examples; no more than its shape, dtype and bounds are looked at. */
function exampleOf(examples: Tensor, all?: Map<Tensor, Tensor>): Tensor {
  const t = new Tensor(exampleOp, [], undefined, examples.shape.slice(1), examples.dtype, examples.device)
  t.range = knownRange(examples)
  all?.set(t, examples)
  return t
}

/**
 * Adds to `all`, which has all examples for each that stands for one, what every node of the outputs' graph is for all of
 * them: a tensor with one more axis. Nodes that no example has a part in are left out, or have no more axes than before.
 */
function rewrite(outputs: readonly Tensor[], all: Map<Tensor, Tensor>): void {
  const next = new Map<Tensor, number>()
  const stack = [...outputs]
  while (stack.length > 0) {
    const t = stack[stack.length - 1]!, i = next.get(t) ?? 0
    if (t.storage === undefined && i < t.sources.length) {
      next.set(t, i + 1)
      if (!next.has(t.sources[i]!)) stack.push(t.sources[i]!)
      continue
    }
    stack.pop()
    next.set(t, Infinity)
    if (all.has(t) || !t.sources.some((s) => all.has(s))) continue
    const src = t.sources.map((s) => all.get(s) ?? s), mapped = src.map((s, k) => s.rank > t.sources[k]!.rank)
    all.set(t, mapped.includes(true) ? mapOp(t.op, src, mapped, t.attrs) : apply(t.op, src, t.attrs))
  }
}
function everywhere(t: Tensor, all: ReadonlyMap<Tensor, Tensor>, count: number): Tensor {
  const made = all.get(t) ?? t
  return made.rank > t.rank ? made : expand(made, [count, ...t.shape])
}

/** What a function of tensors gives for all examples; arguments that are `mapped` have them along their first axis. */
function overExamples<Y extends Tensor | null>(fn: (...src: Tensor[]) => Y[], args: readonly Tensor[], mapped: readonly boolean[]): Y[] {
  const all = new Map<Tensor, Tensor>(), count = args[mapped.indexOf(true)]!.shape[0]!
  const made = fn(...args.map((x, i) => (mapped[i] ? exampleOf(x, all) : x)))
  rewrite(made.filter((y) => y !== null), all)
  return made.map((y) => (y === null ? y : (everywhere(y, all, count) as Y)))
}

// ── Ops ──

function mapOp(op: Op, src: readonly Tensor[], mapped: readonly boolean[], attrs: unknown): Tensor {
  if ("scalar" in op.meaning) return leading(src, mapped, attrs, op)
  return op.batched?.(src, mapped, attrs, op) ?? apply(derivedOp(op), src, { of: attrs, mapped })
}

/** The attributes of the original, and which sources have one more axis. */
interface Mapped { readonly of: unknown; readonly mapped: readonly boolean[] }
const derived = new WeakMap<Op, Op<Mapped>>()
/** The op over examples. The same one for the same op, so that graphs made of them find their programs again. */
function derivedOp(op: Op): Op<Mapped> {
  let made = derived.get(op)
  if (made === undefined) derived.set(op, (made = derive(op)))
  return made
}
function derive(op: Op): Op<Mapped> {
  const { name, cheap, flat, recomputed } = op
  return {
    name, cheap, flat, recomputed,
    meaning: over(op, op.meaning),
    result: (src, { of, mapped }) => {
      const { shape, dtype } = op.result(src.map((s, i) => (mapped[i] ? exampleOf(s) : s)), of)
      return { shape: [src[mapped.indexOf(true)]!.shape[0]!, ...shape], dtype }
    },
    // What the examples share gets the sum of their gradients.
    ...(op.vjp && {
      vjp: (dy, out, src, { of, mapped }) => overExamples((d, y, ...s) => op.vjp!(d!, y!, s, of), [dy, out, ...src], [true, true, ...mapped])
        .map((g, i) => (g === null || mapped[i] ? g : sum(g, { axis: 0 }))),
    }),
  }
}

function over(op: Op, m: Meaning<unknown>): Meaning<Mapped> {
  /** The node that the original is asked about. */
  const one = (node: Tensor, { of, mapped }: Mapped): Tensor =>
    new Tensor(op, node.sources.map((s, i) => (mapped[i] ? exampleOf(s) : s)), of, node.shape.slice(1), node.dtype, node.device)
  if ("move" in m) return { move: ([which, ...out], node, a) => [which!, ...m.move(out, one(node, a), a.of)] }
  if ("at" in m) return { at: (read, [which, ...out], node, a) => m.at((s, where) => read(s, a.mapped[s] ? [which!, ...where] : where), out, one(node, a), a.of) }
  if ("reduce" in m) return { reduce: m.reduce, axes: ({ of }) => m.axes(of).map((a) => a + 1) }
  if ("expand" in m) return { expand: (src, { of, mapped }) => overExamples((...s) => [m.expand(s, of)], src, mapped)[0]! }
  if (!("routine" in m)) return fail("internal", op.name, "is no function of its sources")
  return {
    routine: (src, node, a) => {
      const all = new dtypes[node.dtype].array(new ArrayBuffer(node.bytes)), count = node.shape[0]!, example = one(node, a)
      for (let i = 0; i < count; i++) {
        // Routines may work in the memory of their operands.
        const part = src.map(({ data, shape, dtype }, k) => {
          const n = data.length / count
          return a.mapped[k] ? { data: data.slice(i * n, (i + 1) * n), shape: shape.slice(1), dtype } : { data: data.slice(), shape, dtype }
        })
        all.set(m.routine(part, example, a.of), i * example.size)
      }
      return all
    },
  }
}
