import type { Device } from "./device.ts"
import { buildProgram, type Program } from "./program.ts"
import { elementsOf, Tensor } from "./tensor.ts"

/** Programs kept per device; the least recently used one goes first. */
const capacity = 256
/** Graphs above this many nodes are not worth remembering. */
const largest = 20_000

interface Entry { readonly program: Program; /** For each leaf of the program, which stored operand of the graph it is. */ readonly order: readonly number[] }

const programs = new WeakMap<Device, Map<string, Entry>>()
const ids = new WeakMap<object, number>()
let nextId = 0

/** Number of an object (an op, a format, a function): the same for the same object. */
function idOf(x: object): number {
  let id = ids.get(x)
  if (id === undefined) ids.set(x, (id = nextId++))
  return id
}

function keyOf(attrs: unknown): string {
  if (attrs === undefined || attrs === null) return ""
  if (typeof attrs === "function") return `#${idOf(attrs)}`
  if (typeof attrs !== "object") return Object.is(attrs, -0) ? "-0" : typeof attrs === "string" ? attrs : `${attrs as number}`
  if (Array.isArray(attrs)) {
    let key = "["
    for (const x of attrs) key += `${keyOf(x)},`
    return key
  }
  if (Object.getPrototypeOf(attrs) !== Object.prototype) return `#${idOf(attrs)}`
  let key = "{"
  for (const k in attrs) key += `${k}:${keyOf((attrs as Record<string, unknown>)[k])},`
  return key
}

/** What two graphs must have in common to be computed by one program, and the stored tensors this one reads. */
function structureOf(outputs: readonly Tensor[]): { key: string; leaves: Tensor[] } | undefined {
  const number = new Map<Tensor, number>()
  const leaves: Tensor[] = []
  let key = ""
  const stack: Tensor[] = []
  for (const o of outputs) {
    stack.push(o)
    while (stack.length > 0) {
      const t = stack[stack.length - 1]!
      if (number.has(t)) {
        stack.pop()
        continue
      }
      let ready = true
      if (t.storage === undefined)
        for (const s of t.sources)
          if (!number.has(s)) {
            stack.push(s)
            ready = false
          }
      if (!ready) continue
      stack.pop()
      const n = number.size
      if (n > largest) return undefined
      number.set(t, n)
      if (t.storage !== undefined || elementsOf(t) !== undefined) {
        leaves.push(t)
        key += `L${t.dtype}${t.shape.join()};`
      } else {
        key += `${idOf(t.op)}${t.dtype}${t.shape.join()}|${keyOf(t.attrs)}`
        for (const s of t.sources) key += ` ${number.get(s)}`
        key += ";"
      }
    }
    key += `>${number.get(o)};`
  }
  return { key, leaves }
}

/** The program that computes these tensors: a known one if a graph of the same structure was scheduled before. */
export function programFor(outputs: readonly Tensor[], device: Device): { program: Program; leaves: readonly Tensor[] } {
  const structure = structureOf(outputs)
  if (structure === undefined) return buildProgram(outputs, device)
  let known = programs.get(device)
  if (known === undefined) programs.set(device, (known = new Map()))
  const { key, leaves } = structure
  const found = known.get(key)
  if (found !== undefined) {
    known.delete(key)
    known.set(key, found)
    return { program: found.program, leaves: found.order.map((n) => leaves[n]!) }
  }
  const built = buildProgram(outputs, device)
  known.set(key, { program: built.program, order: built.leaves.map((t) => leaves.indexOf(t)) })
  if (known.size > capacity) known.delete(known.keys().next().value!)
  return built
}
