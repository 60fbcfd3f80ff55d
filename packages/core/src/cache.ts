import type { Device } from "./device.ts"
import { buildProgram, type Program } from "./program.ts"
import { Structure } from "./structure.ts"
import { elementsOf, type Tensor } from "./tensor.ts"
import { Walk } from "./visits.ts"

/** Programs kept per device; the least recently used one goes first. */
const capacity = 256
/** Graphs above this many nodes are not worth remembering. */
const largest = 20_000

interface Entry { readonly words: Int32Array; readonly program: Program; /** For each leaf of the program, which stored operand of the graph it is. */ readonly order: readonly number[] }

/** By the hash of their structure; where two have the same, the later one is kept. */
const known = new WeakMap<Device, Map<number, Entry>>()

/** Words where a tensor's op would be, whose number is not negative. */
const isLeaf = -1, isOutput = -2

/** What two graphs must have in common to be computed by one program, and the stored tensors this one reads. */
function structureOf(outputs: readonly Tensor[]): { structure: Structure; leaves: Tensor[] } | undefined {
  const structure = new Structure()
  const walk = new Walk()
  const leaves: Tensor[] = []
  const stack: Tensor[] = []
  for (const o of outputs) {
    stack.push(o)
    while (stack.length > 0) {
      const t = stack[stack.length - 1]!
      if (walk.numberOf(t) >= 0) {
        stack.pop()
        continue
      }
      const { sources } = t
      const waiting = stack.length
      if (t.storage === undefined) for (let i = 0; i < sources.length; i++) if (walk.numberOf(sources[i]!) < 0) stack.push(sources[i]!)
      if (stack.length > waiting) continue
      stack.pop()
      if (walk.count > largest) return undefined
      walk.meet(t)
      if (t.storage !== undefined || elementsOf(t) !== undefined) {
        leaves.push(t)
        structure.add(isLeaf)
        structure.addType(t)
      } else {
        structure.addTensor(t)
        structure.add(sources.length)
        for (let i = 0; i < sources.length; i++) structure.add(walk.numberOf(sources[i]!))
      }
    }
    structure.add(isOutput)
    structure.add(walk.numberOf(o))
  }
  return { structure, leaves }
}

/** The program that computes these tensors: a known one if a graph of the same structure was scheduled before. */
export function programFor(outputs: readonly Tensor[], device: Device): { program: Program; leaves: readonly Tensor[] } {
  const found = structureOf(outputs)
  if (found === undefined) return buildProgram(outputs, device)
  const { structure, leaves } = found
  let programs = known.get(device)
  if (programs === undefined) known.set(device, (programs = new Map()))
  const hash = structure.hash()
  const entry = programs.get(hash)
  programs.delete(hash)
  if (entry !== undefined && structure.equals(entry.words)) {
    programs.set(hash, entry)
    return { program: entry.program, leaves: entry.order.map((n) => leaves[n]!) }
  }
  const words = structure.copy()
  const built = buildProgram(outputs, device)
  const places = new Map<Tensor, number>()
  leaves.forEach((t, i) => places.set(t, i))
  programs.set(hash, { words, program: built.program, order: built.leaves.map((t) => places.get(t)!) })
  if (programs.size > capacity) programs.delete(programs.keys().next().value!)
  return built
}
