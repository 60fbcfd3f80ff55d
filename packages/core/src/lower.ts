import { coordinates, flatIndex, reshaped } from "./coordinates.ts"
import { scalarOf } from "./dtype.ts"
import { fail } from "./errors.ts"
import { acc, constant, freshExprs, index, load, scalar, store, type Expr } from "./expr.ts"
import type { Node } from "./graph.ts"
import type { Kernel, Load } from "./kernel.ts"
import { ownLoads } from "./pairs.ts"
import type { Group } from "./schedule.ts"
import { sizeOf } from "./shape.ts"
import type { TemplateLoad } from "./tensor.ts"

/** A kernel and what its parameters (after the output) and scalars stand for. */
export interface Lowered { readonly kernel: Kernel; readonly inputs: readonly Node[]; readonly scalars: readonly Node[] }

/** Whether a kernel loads the node instead of computing it. */
export const isLoaded = (node: Node, { root }: Group): boolean => node.kind === "value" || (node.root && node !== root)

/** Turns a group into a kernel: one expression in the group's coordinates, loads where other groups' results are read. */
export function lower(group: Group): Lowered {
  return freshExprs(() => {
    const inputs: Node[] = [], scalars: Node[] = []
    const code = codeOf(group, reader(group, inputs, scalars))
    const { dtype, size } = group.root.tensor
    const parameters = [dtype, ...inputs.map((n) => n.tensor.dtype)]
    const sizes = [size, ...inputs.map((n) => n.tensor.size)]
    return { kernel: { dtype, parameters, sizes, scalars: scalars.map((n) => scalarOf(n.tensor.dtype)), ...code }, inputs, scalars }
  })
}

/** What a kernel computes. */
type Code<K extends Kernel = Kernel> = K extends Kernel ? Omit<K, "dtype" | "parameters" | "sizes" | "scalars"> : never

function codeOf(group: Group, at: Reader): Code {
  const { core } = group, root = group.root.tensor
  // A kernel without elements runs nothing, and coordinates of an empty axis do not exist.
  if (root.size === 0) return { kind: "map", shape: [0], body: constant(scalarOf(root.dtype), 0) }
  if (group.over !== undefined) return update(group.root, at)
  if (core === undefined) return { kind: "map", shape: root.shape, body: at(group.root, coordinates(root.shape)) }
  const { op, attrs, shape, dtype } = core.tensor
  const own = coordinates(shape)
  const finish = (): Expr => store(core === group.root ? acc(scalarOf(dtype)) : at(group.root, reshaped(own, shape, root.shape)), root.dtype)
  if ("reduce" in op.meaning) {
    const [source] = core.sources, { tensor, size } = source!
    const axes = op.meaning.axes(attrs)
    const coords = own.map((c, i) => (axes.includes(i) ? index(shape.length + axes.indexOf(i), tensor.shape[i]!) : c))
    const body = size === 0 ? constant(scalarOf(tensor.dtype), 0) : at(source!, coords)
    return { kind: "reduce", shape, over: axes.map((a) => tensor.shape[a]!), combine: op.meaning.reduce, body, epilogue: finish() }
  }
  const { loads, dims } = op.template!
  const bodies: Record<string, Load> = {}
  const read = ({ sources }: Node, l: TemplateLoad): Load => {
    const i = coordinates(l.shape)
    const value = (): Expr => ("source" in l ? at(sources[l.source]!, l.coords(i)) : l.at((s, c) => at(sources[s]!, c), i))
    return { shape: l.shape, body: sizeOf(l.shape) === 0 ? constant("f32", 0) : value() }
  }
  for (const [name, l] of Object.entries(loads(core.tensor, attrs))) bodies[name] = read(core, l)
  if (group.pair !== undefined) for (const [name, l] of ownLoads(group.pair)) bodies[`${name}2`] = read(group.pair, l)
  return { kind: "template", name: op.name, shape, ...(group.pair !== undefined && { pair: true }), dims: dims(core.tensor, attrs), loads: bodies, epilogue: finish() }
}

/** What an op puts into its first source, and where. */
function update({ tensor: { op, attrs, shape, dtype }, tensor, sources }: Node, at: Reader): Code {
  const [, values] = sources
  if (values!.size === 0) return { kind: "map", shape: [0], body: constant(scalarOf(dtype), 0) }
  const coords = coordinates(values!.tensor.shape)
  return { kind: "map", shape: values!.tensor.shape, body: store(at(values!, coords), dtype), into: flatIndex(op.into!((s, c) => at(sources[s]!, c), coords, tensor, attrs), shape) }
}

type Reader = (node: Node, coords: readonly Expr[]) => Expr
/** A value of a node in one kernel, whose reader this is, and the one before. */
export interface Evaluation { readonly by: Reader; readonly coords: readonly Expr[]; readonly value: Expr; readonly before: Evaluation | undefined }

/** The value of a node at some coordinates; lists what it loads. */
function reader(group: Group, inputs: Node[], scalars: Node[]): Reader {
  const at: Reader = (node, coords) => {
    const { dtype, shape } = node.tensor
    if (isLoaded(node, group)) return load(1 + slot(inputs, node), dtype, flatIndex(coords, shape))
    if (node === group.core) return acc(scalarOf(dtype))
    if (node === group.pair) return acc(scalarOf(dtype), 1)
    const before = node.evaluation?.by === at ? node.evaluation : undefined
    for (let e = before; e !== undefined; e = e.before) if (sameCoordinates(e.coords, coords)) return e.value
    const value = store(meaning(node, coords), dtype)
    node.evaluation = { by: at, coords, value, before }
    return value
  }
  const meaning: Reader = (node, coords) => {
    const { tensor, sources, kind } = node
    const m = tensor.op.meaning
    if ("scalar" in m) return m.scalar(sources.map((s) => at(s, coords)), tensor, tensor.attrs)
    if ("move" in m) return at(sources[0]!, m.move(coords, tensor, tensor.attrs))
    if ("at" in m) return m.at((s, c) => at(sources[s]!, c), coords, tensor, tensor.attrs)
    if (kind === "number") return scalar(scalarOf(tensor.dtype), slot(scalars, node))
    return fail("internal", tensor.op.name, "cannot stand inside another kernel")
  }
  return at
}

/** Place of a node in a list, to which it is added if need be. */
function slot(list: Node[], node: Node): number {
  const i = list.indexOf(node)
  return i < 0 ? list.push(node) - 1 : i
}

function sameCoordinates(a: readonly Expr[], b: readonly Expr[]): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
