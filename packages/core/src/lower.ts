import { coordinates, flatIndex, reshaped } from "./coordinates.ts"
import { scalarOf, type DType, type Scalar } from "./dtype.ts"
import { fail } from "./errors.ts"
import { acc, constant, freshExprs, index, load, scalar, store, type Expr } from "./expr.ts"
import type { Kernel, Load } from "./kernel.ts"
import type { Group, Schedule } from "./schedule.ts"
import { sizeOf } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

/** A kernel and what its parameters (after the output) and scalars stand for. */
export interface Lowered { readonly kernel: Kernel; readonly inputs: readonly Tensor[]; readonly scalars: readonly Tensor[] }

/** Turns a group into a kernel: one expression in the group's coordinates, loads where other groups' results are read. */
export function lower(group: Group, { resolve }: Schedule, isStored: (t: Tensor) => boolean): Lowered {
  return freshExprs(() => {
    const { root, core } = group
    const inputs: Tensor[] = [], scalars: Tensor[] = []
    const parameters: DType[] = [root.dtype], scalarTypes: Scalar[] = []
    const memo = new Map<Tensor, Map<string, Expr>>()

    const slot = (list: Tensor[], t: Tensor, added: () => void): number => {
      let i = list.indexOf(t)
      if (i < 0) {
        i = list.push(t) - 1
        added()
      }
      return i
    }
    const at = (tensor: Tensor, coords: readonly Expr[]): Expr => {
      const t = resolve(tensor)
      if (t !== root && (t.storage !== undefined || isStored(t))) return read(t, coords)
      if (t === core) return acc(scalarOf(t.dtype))
      let key = ""
      for (const c of coords) key += `${c.id},`
      let known = memo.get(t)
      if (known === undefined) memo.set(t, (known = new Map()))
      let value = known.get(key)
      if (value === undefined) known.set(key, (value = store(meaning(t, coords), t.dtype)))
      return value
    }
    const read = (t: Tensor, coords: readonly Expr[]): Expr => {
      const n = slot(inputs, t, () => parameters.push(t.dtype))
      return load(n + 1, t.dtype, flatIndex(coords, t.shape))
    }
    const meaning = (t: Tensor, coords: readonly Expr[]): Expr => {
      const m = t.op.meaning
      if ("scalar" in m) return m.scalar(t.sources.map((s) => at(s, coords)), t, t.attrs)
      if ("move" in m) return at(t.sources[0]!, m.move(coords, t, t.attrs))
      if ("at" in m) return m.at((s, c) => at(t.sources[s]!, c), coords, t, t.attrs)
      if ("leaf" in m && m.leaf === "scalar") return scalar(scalarOf(t.dtype), slot(scalars, t, () => scalarTypes.push(scalarOf(t.dtype))))
      if ("leaf" in m && m.leaf !== "buffer") return read(t, coords)
      return fail("internal", t.op.name, "cannot stand inside another kernel")
    }
    const base = { dtype: root.dtype, parameters, scalars: scalarTypes }
    // A kernel without elements runs nothing, and coordinates of an empty axis do not exist.
    if (root.size === 0) return { kernel: { ...base, kind: "map", shape: [0], body: constant(scalarOf(root.dtype), 0) }, inputs, scalars }
    if (core === undefined) {
      const body = at(root, coordinates(root.shape))
      return { kernel: { ...base, kind: "map", shape: root.shape, body }, inputs, scalars }
    }
    const m = core.op.meaning
    const shape = core.shape
    const own = coordinates(shape)
    let result: { kernel: Kernel }
    const finish = (): Expr => store(root === core ? acc(scalarOf(core.dtype)) : at(root, reshaped(own, shape, root.shape)), root.dtype)
    if ("reduce" in m) {
      const source = core.sources[0]!
      const axes = m.axes(core.attrs)
      const over = axes.map((a) => source.shape[a]!)
      const coords = own.map((c, i) => (axes.includes(i) ? index(shape.length + axes.indexOf(i), source.shape[i]!) : c))
      const body = source.size === 0 ? constant(scalarOf(source.dtype), 0) : at(source, coords)
      result = { kernel: { ...base, kind: "reduce", shape, over, combine: m.reduce, body, epilogue: finish() } }
    } else {
      const template = core.op.template!
      const loads: Record<string, Load> = {}
      for (const [name, l] of Object.entries(template.loads(core, core.attrs))) {
        const i = coordinates(l.shape)
        const value = (): Expr => ("source" in l ? at(core.sources[l.source]!, l.coords(i)) : l.at((s, c) => at(core.sources[s]!, c), i))
        loads[name] = { shape: l.shape, body: sizeOf(l.shape) === 0 ? constant("f32", 0) : value() }
      }
      result = { kernel: { ...base, kind: "template", name: core.op.name, shape, dims: template.dims(core, core.attrs), loads, epilogue: finish() } }
    }
    return { ...result, inputs, scalars }
  })
}
